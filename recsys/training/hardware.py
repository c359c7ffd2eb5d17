"""Chooses device, precision, XLA and determinism by what the machine has."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from recsys import settings
from recsys.blocks import CPU, Blocks, of_gpu
from recsys.config import Training
from recsys.errors import MissingComponentError
from recsys.progress import Log
from recsys.training.cluster import VARIABLE as TOGETHER

NO_GPU: Final = "TensorFlow was built for GPUs but finds none; falling back to the slow CPU (--device gpu would fail instead)"
VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MALLOC_OPTIONS: Final = {_TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 512 << 20, _MMAP_THRESHOLD: (1 << 31) - 1}
"""Options of mallopt(3), in bytes."""


@dataclasses.dataclass(frozen=True)
class Hardware:
    """The choice for one run, as recorded in run.json.

    Attributes:
        device: "cpu" or "gpu".
        precision: name of the Keras dtype policy.
        xla: whether XLA compiles the steps.
        deterministic: whether operations give the same bits each time.
        names: the devices used, for display.
        reason: why this precision.
        warning: what may surprise the user about this choice, or empty.
        memory: bytes that were free on the GPU; 0 for a CPU, or if unknown.
    """

    device: str
    precision: str
    xla: bool
    deterministic: bool
    names: tuple[str, ...]
    reason: str
    warning: str = ""
    memory: int = 0

    @property
    def blocks(self) -> Blocks:
        """How large the arrays may become that grow with the catalogue."""
        return of_gpu(self.memory) if self.device == "gpu" else CPU


def choose(training: Training) -> Hardware:
    """Inspects the devices and resolves `auto`. Call it before anything else uses TensorFlow.

    A process uses one device: of several GPUs the first of `cards`.

    Precision: mixed_bfloat16 on matrix units that support it (GPUs from compute capability 8.0, CPUs with AMX);
    mixed_float16 with loss scaling on GPUs of capability 7.x; otherwise float32, also on CPUs with AVX-512 BF16 but no AMX,
    which were measured to be slower in bfloat16 (docs/model.md).

    Determinism: on CPUs it costs nothing. On GPUs XLA turns each scatter, the gradient of a lookup, into a loop over its
    updates, and TensorFlow's own take a way through the host (compiled.best). It cannot be undone in a process.

    Graphs run as they were written, without Grappler's rewriting: in large ones it lets the sums of a loop accumulate in
    temporary variables, which the next call finds still there, and fails (TensorFlow 2.21). No step is slower for it.

    Raises:
        MissingComponentError: a GPU was requested and there is none.
    """
    tf = import_tensorflow()
    gpus = [] if training.device == "cpu" else tf.config.list_physical_devices("GPU")
    if training.device == "gpu" and not gpus:
        raise MissingComponentError(
            "--device gpu: TensorFlow finds no GPU; install the extra 'gpu', start the container with a GPU "
            "(docker run --gpus all, or a nvidia.com/gpu limit), or use --device auto to fall back to the CPU"
        )
    warning = NO_GPU if training.device == "auto" and not gpus and tf.test.is_built_with_cuda() else ""
    gpus = _most_capable(tf, gpus)[:1]
    if tf.config.get_visible_devices("GPU") != gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names, precision, reason = _gpu_precision(tf, gpus[0]) if gpus else _cpu_precision()
    if training.precision != "auto":
        precision, reason = training.precision, "as requested"
    deterministic = training.deterministic == "on" or (training.deterministic == "auto" and not gpus)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    return Hardware(
        device="gpu" if gpus else "cpu",
        precision=precision,
        xla=training.xla != "off",
        deterministic=deterministic,
        names=names,
        reason=reason,
        warning=warning,
        memory=_free_memory(gpus[0].name) if gpus else 0,
    )


def cards(training: Training, environment: Mapping[str, str]) -> list[str]:
    """The GPUs that training may use, each in a process of its own, as CUDA_VISIBLE_DEVICES names them.

    These are the ones with the highest compute capability, since a slower one would hold up all others. None are named where
    TF_CONFIG says who trains together.

    Args:
        training: the section of the configuration.
        environment: of this process; if CUDA_VISIBLE_DEVICES is set, no other GPUs are named.
    """
    if training.device == "cpu" or environment.get(TOGETHER):
        return []
    tf = import_tensorflow()
    best = _most_capable(tf, tf.config.list_physical_devices("GPU"))
    numbers = [int(gpu.name.rpartition(":")[2]) for gpu in best]
    visible = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    return [visible[number] if visible else str(number) for number in numbers]


def probe(training: Mapping[str, Any], log: Log) -> dict[str, Any]:
    """`choose` and `cards` for recsys.spark.child.call: TensorFlow never releases memory, so ask in another process.

    Args:
        training: the section of the configuration, from settings.to_dict.
        log: not used.
    """
    asked = settings.from_dict(Training, training)
    return {**dataclasses.asdict(choose(asked)), "cards": cards(asked, os.environ)}


def import_tensorflow() -> Any:
    """Imports TensorFlow, quiet, and sets how memory is kept.

    Raises:
        MissingComponentError: TensorFlow is not installed.
    """
    try:
        import recsys.model  # noqa: F401  (imports Keras and TensorFlow quietly)
        import tensorflow as tf  # isort: skip
    except ImportError as error:
        raise MissingComponentError(
            f"TensorFlow cannot be imported ({error}); install recsys with an extra: pip install '.[cpu]' or '.[gpu]'"
        ) from None
    _keep_freed_memory()
    logging.getLogger("tensorflow").addFilter(_matters)
    return tf


def _matters(record: logging.LogRecord) -> bool:
    """Whether it is a warning, since TensorFlow tells more to who works interactively; and not that a function is traced often:
    scoring has a few shapes, each of which is traced once."""
    return record.levelno >= logging.WARNING and "triggered tf.function retracing" not in record.getMessage()


def _keep_freed_memory() -> None:
    """Makes glibc keep the memory that a step frees for the next one, instead of returning it to the system.

    Every step frees and allocates the same large arrays. Pages that were returned have to be faulted in and zeroed anew, which
    can take a third of a step's time. Without glibc nothing is changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for option, value in _MALLOC_OPTIONS.items():
            library.mallopt(option, value)


def _capability(tf: Any, gpu: Any) -> tuple[int, int]:
    major, minor = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return int(major), int(minor)


def _most_capable(tf: Any, gpus: list[Any]) -> list[Any]:
    best = max((_capability(tf, gpu) for gpu in gpus), default=None)
    return [gpu for gpu in gpus if _capability(tf, gpu) == best]


def _gpu_name(tf: Any, gpu: Any) -> str:
    return str(tf.config.experimental.get_device_details(gpu).get("device_name", "GPU"))


@functools.cache  # what this process takes afterwards is no less for that
def _free_memory(name: str) -> int:
    """Bytes that are free on a GPU, less what TensorFlow leaves to the system; 0 if that cannot be told.

    Only a session's devices tell it. Opening one takes the time and memory of CUDA's context, which a process needs anyway, and
    allocates nothing else, given that memory grows as needed.

    Args:
        name: of the physical device, whose number selects it.
    """
    import tensorflow as tf

    options = tf.compat.v1.GPUOptions(allow_growth=True, visible_device_list=name.rpartition(":")[2])
    config = tf.compat.v1.ConfigProto(gpu_options=options)
    try:
        with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
            found = session.list_devices()
    except tf.errors.OpError:
        return 0
    return max((device.memory_limit_bytes for device in found if device.device_type == "GPU"), default=0)


def _gpu_precision(tf: Any, gpu: Any) -> tuple[tuple[str, ...], str, str]:
    names, capability = (_gpu_name(tf, gpu),), _capability(tf, gpu)
    if capability >= (8, 0):
        return names, "mixed_bfloat16", f"compute capability {capability[0]}.{capability[1]}: bfloat16 is native"
    if capability >= (7, 0):
        return names, "mixed_float16", f"compute capability {capability[0]}.{capability[1]}: float16 with loss scaling"
    return names, "float32", f"compute capability {capability[0]}.{capability[1]}: no 16-bit matrix units"


def _cpu_precision() -> tuple[tuple[str, ...], str, str]:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "CPU")
    names = (f"{model}, {len(os.sched_getaffinity(0))} cores",)
    if " amx_bf16" in info:
        return names, "mixed_bfloat16", "the CPU has bfloat16 matrix units (AMX)"
    return names, "float32", "the CPU has no bfloat16 matrix units"
