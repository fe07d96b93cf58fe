"""Where to train: a CPU, one GPU, all GPUs of a machine, or several machines."""

import json
import os
from typing import NamedTuple

from lenspipe._tensorflow import gpus, tf
from lenspipe.errors import LenspipeError
from lenspipe.progress import log

__all__ = ["Devices", "choose_devices"]

#: Ports that tasks of srun use: as many on each node as a job has tasks there, 16 at most.
_FIRST_PORT, _PORTS_OF_A_JOB = 12000, 16


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
    resolver = _resolver() if how in ("auto", "workers") else None
    if resolver:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        n_workers = len(resolver.cluster_spec().as_dict()["worker"])
        devices = Devices(strategy, resolver.task_id, n_workers, f"{n_workers} machines")
        if not devices.is_chief:
            log.setLevel("WARNING")
        return devices
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


def _resolver():
    """Return what knows the other machines; None where there are none."""
    try:
        workers = json.loads(os.environ.get("TF_CONFIG", "{}")).get("cluster", {}).get("worker", [])
    except (ValueError, AttributeError):
        raise LenspipeError(
            f"environment variable TF_CONFIG: found {os.environ['TF_CONFIG']!r}, expected JSON "
            "with cluster and task; correct or unset it"
        ) from None
    if len(workers) > 1:
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        # Which GPUs a task sees is Slurm's matter: the numbers here only have to be large enough.
        # Jobs that share a node need ports of their own.
        job = int(os.environ.get("SLURM_JOB_ID", 0))
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_FIRST_PORT + job % 1000 * _PORTS_OF_A_JOB,
            gpus_per_node=_PORTS_OF_A_JOB,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        resolver.cluster_spec()  # sets the number of this task
        return resolver
    return None
