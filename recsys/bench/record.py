"""One record of `recsys bench`: everything that is measured of one setting."""

from __future__ import annotations

from typing import Any

from recsys.bench import launches, operations, trial
from recsys.progress import Log
from recsys.training.hardware import Hardware
from recsys.training.phase import Setting


class Rates(dict[str, float]):
    """Operations a second of a large product of matrices by dtype, measured when they are first asked for."""

    def __missing__(self, dtype: str) -> float:
        self[dtype] = _rounded(operations.matmul_rate(dtype))
        return self[dtype]


def measured(setting: Setting, repeats: int, rates: Rates, log: Log) -> dict[str, Any]:
    """Times one setting; docs/scale.md explains each field.

    Args:
        setting: configuration, features and hardware.
        repeats: calls that are timed, see trial.cost.
        rates: of the device.
        log: reports progress.

    Returns:
        JSON types only.
    """
    config, hardware = setting.config, setting.hardware
    tried = trial.prepare(setting)
    spec, negatives = tried.model.spec, tried.plan.negatives
    xla = "on" if hardware.xla else "off"
    log(f"width {spec.width}, {hardware.precision}, XLA {xla}, {tried.positions:,} positions a step: compiling, training")
    step = trial.cost(tried, repeats)
    stall = trial.input_stall(tried, repeats * step.steps)
    log(f"  {tried.positions / step.seconds:,.0f} positions/s; scoring")
    users = trial.users_per_second(tried, min(config.recommend.k, spec.items), repeats)
    log(f"  {users:,.0f} users/s" + ("; counting what was compiled" if hardware.xla else ""))
    counted = operations.count(spec, tried.positions, negatives)
    share = operations.share(counted, step.seconds, rates[tried.model.compute_dtype], rates["float32"])
    return {
        "width": spec.width,
        "precision": hardware.precision,
        "precision_reason": hardware.reason,
        "xla": xla,
        "positions_per_step": tried.positions,
        "row_length": tried.shape[1],
        "negatives": negatives,
        "parameters": int(tried.model.count_params()),
        "ran_on": step.ran_on,
        "compile_seconds": _rounded(step.compile_seconds),
        "steps_per_call": step.steps,
        "ms_per_step": _rounded(1000 * step.seconds),
        "steps_per_second": _rounded(1 / step.seconds),
        "positions_per_second": _rounded(tried.positions / step.seconds),
        "host_ms_per_step": _rounded(1000 * step.host_seconds),
        "page_faults_per_step": _rounded(step.page_faults),
        "operations_per_step": counted.total,
        "share_of_matmul_peak": _rounded(share),
        "input_stall": _rounded(stall),
        "users_per_second": _rounded(users),
        "program": _program(tried, step, hardware),
    }


def _program(tried: trial.Trial, step: trial.Cost, hardware: Hardware) -> dict[str, Any] | None:
    """What XLA compiled, for the device at hand; None without XLA."""
    if not hardware.xla:
        return None
    try:
        found = launches.of_step(tried.steps, step.arguments, hardware.device)
    except ValueError as unread:
        return {"compiled_for": hardware.device, "not_read": str(unread)}
    return {
        "compiled_for": hardware.device,
        "launches_per_step": sum(found.launches.values()),
        "host_transfers_per_step": found.host_transfers,
        "launches_by_instruction": found.launches,
    }


def _rounded(value: float) -> float:
    """To five digits that count."""
    return float(f"{value:.5g}")
