"""Where to train: a CPU, one GPU, all GPUs of a machine, or several machines."""

import json
import os
from typing import Any, NamedTuple

import numpy as np

from lenspipe.utils.errors import LenspipeError
from lenspipe.utils.progress import log
from lenspipe.utils.tensorflow import gpus, tf

__all__ = ["Devices", "choose_devices"]

#: Maximum number of srun tasks on a node: each task has a port, each job a block of that many.
_MAX_TASKS, _FIRST_PORT = 16, 12000


class Devices(NamedTuple):
    """Where a network is trained.

    Attributes
    ----------
    strategy : tf.distribute.Strategy
        TensorFlow's default one on a single device.
    worker, n_workers : int
        Index of this machine (or process), from 0, and the number of machines.
    name : str
        Description for the log and training.json.
    """

    strategy: tf.distribute.Strategy
    worker: int
    n_workers: int
    name: str

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that measures, logs and writes."""
        return self.worker == 0

    @property
    def n_replicas(self) -> int:
        """Number of devices that share a batch."""
        return self.strategy.num_replicas_in_sync

    def from_first(self, numbers: np.ndarray) -> np.ndarray:
        """Give all machines the numbers of the first one.

        They are float64, (N,), of the same length on all machines.
        """
        if self.n_workers == 1:
            return numbers
        # The numbers of its first device are added to zeros from all others.
        values = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                numbers if context.replica_id_in_sync_group == 0 else np.zeros_like(numbers)
            )
        )
        return self.strategy.reduce("SUM", values, axis=None).numpy()


def choose_devices(strategy: str) -> Devices:
    """Choose the devices and connect the machines.

    ``training.strategy`` is ``one``, ``mirrored``, ``workers`` or ``auto``: the machines that
    TF_CONFIG lists, or the tasks that ``srun`` has started; else all GPUs of this machine; else its
    CPU.

    Raises
    ------
    LenspipeError
        Several machines are requested and none are named, or TF_CONFIG can't be read.
    """
    cluster = _cluster() if strategy in ("auto", "workers") else None
    if cluster:
        n_workers, index = cluster
        workers = tf.distribute.MultiWorkerMirroredStrategy()
        if index:
            log.setLevel("WARNING")
        return Devices(workers, index, n_workers, f"{n_workers} machines")
    if strategy == "workers":
        raise LenspipeError(
            "config key training.strategy: found workers, but neither TF_CONFIG nor the tasks of "
            "srun name any; start `lenspipe train` with srun on several nodes (docs/training.md), "
            "or leave the key at auto"
        )
    device_type = "GPU" if gpus else "CPU"
    logical = tf.config.list_logical_devices(device_type)
    name = _device_name()
    if strategy == "mirrored" or (strategy == "auto" and len(gpus) > 1):
        mirrored = tf.distribute.MirroredStrategy([device.name for device in logical])
        return Devices(mirrored, 0, 1, f"{len(logical)} x {name}")
    return Devices(tf.distribute.get_strategy(), 0, 1, name)


def _device_name() -> str:
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def _cluster() -> tuple[int, int] | None:
    """Number of machines and index of this one; None where there is only one.

    TensorFlow reads the same from TF_CONFIG.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "TF_CONFIG" not in os.environ:
        os.environ["TF_CONFIG"] = json.dumps(_slurm_config())
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
            f"{task[0]} {task[1]}, expected only workers, and this task among them; make a chief "
            "the first worker"
        )
    return len(workers), task[1]


def _slurm_config() -> dict[str, Any]:
    """TF_CONFIG of a task started by srun.

    TensorFlow's resolver parses Slurm's variables, but its cluster_spec() sorts hosts by name,
    while Slurm numbers tasks in its own order, and it assigns one GPU to each task.
    """
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=_MAX_TASKS, gpus_per_task=0, auto_set_gpu=False
    )
    hosts = resolver._task_configuration
    if max(hosts.values()) > _MAX_TASKS:
        raise LenspipeError(
            f"srun: found {max(hosts.values())} tasks on a node, expected at most {_MAX_TASKS}; "
            "start one for each GPU"
        )
    # Jobs that share a node must not share ports.
    first = _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % 1000 * _MAX_TASKS
    workers = [f"{host}:{first + i}" for host, n in hosts.items() for i in range(n)]
    task = {"type": "worker", "index": int(os.environ["SLURM_PROCID"])}
    return {"cluster": {"worker": workers}, "task": task}
