"""Where to train: a CPU, one GPU, all GPUs of a machine, or several machines."""

import json
import os
from typing import NamedTuple

import numpy as np

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, tf

__all__ = ["Devices", "choose_devices"]

#: Most tasks of srun on a node; each has a port, and each job as many ports as that.
_MOST_TASKS, _FIRST_PORT = 16, 12000


class Devices(NamedTuple):
    """Where a network is trained.

    Attributes
    ----------
    strategy : tf.distribute.Strategy
        TensorFlow's default one on a single device.
    worker, n_workers : int
        Which machine (or process) this is, from 0, and how many there are.
    name : str
        In words.
    """

    strategy: tf.distribute.Strategy
    worker: int
    n_workers: int
    name: str

    @property
    def is_chief(self):
        """Whether this is the process that measures, logs and writes."""
        return self.worker == 0

    @property
    def n_replicas(self):
        """Number of devices that share a batch."""
        return self.strategy.num_replicas_in_sync

    def of_first(self, numbers):
        """Numbers of the first machine, on all machines.

        Parameters
        ----------
        numbers : ndarray of float64, (N,)
            On other machines any, as many.

        Returns
        -------
        ndarray of float64, (N,)
        """
        if self.n_workers == 1:
            return numbers
        # Those of its first device are added to zeros of all others.
        mine = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                numbers if context.replica_id_in_sync_group == 0 else np.zeros_like(numbers)
            )
        )
        return self.strategy.reduce("SUM", mine, axis=None).numpy()


def choose_devices(how):
    """Choose the devices and connect the machines.

    Parameters
    ----------
    how : {"auto", "one", "mirrored", "workers"}
        ``training.strategy``. ``auto``: the machines that TF_CONFIG lists, or the tasks that
        ``srun`` has started; else all GPUs of this machine; else its CPU.

    Returns
    -------
    Devices

    Raises
    ------
    LenspipeError
        Several machines are asked for and none are named, or TF_CONFIG can't be read.
    """
    cluster = _cluster() if how in ("auto", "workers") else None
    if cluster:
        n_workers, index = cluster
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        if index:
            log.setLevel("WARNING")
        return Devices(strategy, index, n_workers, f"{n_workers} machines")
    if how == "workers":
        raise LenspipeError(
            "config key training.strategy: found workers, but neither TF_CONFIG nor the tasks of "
            "srun name any; start `lenspipe train` with srun on several nodes (docs/training.md), "
            "or leave the key at auto"
        )
    kind = "GPU" if gpus else "CPU"
    logical = tf.config.list_logical_devices(kind)
    name = _device_name()
    if how == "mirrored" or (how == "auto" and len(gpus) > 1):
        strategy = tf.distribute.MirroredStrategy([device.name for device in logical])
        return Devices(strategy, 0, 1, f"{len(logical)} x {name}")
    return Devices(tf.distribute.get_strategy(), 0, 1, name)


def _device_name():
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def _cluster():
    """Return how many machines there are and which one this is; None where there is one.

    TensorFlow finds them in TF_CONFIG.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "TF_CONFIG" not in os.environ:
        os.environ["TF_CONFIG"] = json.dumps(_of_slurm())
    try:
        config = json.loads(os.environ.get("TF_CONFIG", "{}"))
        jobs = config.get("cluster", {})
        workers = jobs.get("worker", [])
        if jobs.keys() <= {"worker"} and len(workers) < 2:
            return None
        task = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, AttributeError, KeyError, TypeError):
        raise LenspipeError(
            f"environment variable TF_CONFIG: found {os.environ['TF_CONFIG']!r}, expected JSON "
            "with cluster and task; correct or unset it"
        ) from None
    if jobs.keys() != {"worker"} or task[0] != "worker" or not 0 <= task[1] < len(workers):
        raise LenspipeError(
            f"environment variable TF_CONFIG: found jobs {', '.join(sorted(jobs))} and the task "
            f"{task[0]} {task[1]}, expected workers only and one of them; make a chief the first "
            "worker"
        )
    return len(workers), task[1]


def _of_slurm():
    """TF_CONFIG of a task that srun has started.

    TensorFlow's own resolver reads what Slurm says; but it sorts hosts by name, where tasks are
    numbered in Slurm's order, and takes one GPU for each task.
    """
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=_MOST_TASKS, gpus_per_task=0, auto_set_gpu=False
    )
    hosts = resolver._task_configuration
    if max(hosts.values()) > _MOST_TASKS:
        raise LenspipeError(
            f"srun: found {max(hosts.values())} tasks on a node, expected at most {_MOST_TASKS}; "
            "start one for each GPU"
        )
    # Jobs that share a node need ports of their own.
    first = _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % 1000 * _MOST_TASKS
    workers = [f"{host}:{first + i}" for host, n in hosts.items() for i in range(n)]
    task = {"type": "worker", "index": int(os.environ["SLURM_PROCID"])}
    return {"cluster": {"worker": workers}, "task": task}
