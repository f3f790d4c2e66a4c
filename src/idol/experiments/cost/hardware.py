"""What computes, and the memory that is taken of it."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import torch

from idol.errors import UserError


def usable(device: str) -> torch.device:
    """The device, after it has computed something.

    Raises:
        UserError: If there is none of that name here.
    """
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's words for it
        reason = str(error).partition("\n")[0][:160]
        raise UserError("--device", f"{device} cannot be used ({reason})", "try --device cpu") from error
    return torch.device(device)


def name_of(device: torch.device) -> str:
    """Name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """Name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class MemoryMeter:
    """The most memory that is taken after `start`, over what was taken when the meter was made.

    Args:
        device: Whose memory: a CUDA device's own, or, with the CPU, that of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._let_go()
        self.before = self._taken("VmRSS") or 0

    def start(self) -> None:
        """Forget the peak so far: of building, of counting and of the untimed clip."""
        self._let_go()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self._taken("VmHWM") is not None:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def read(self) -> int | None:
        """Bytes, or None where the system does not say."""
        peak = self._taken("VmHWM")
        return None if peak is None else peak - self.before

    def _let_go(self) -> None:
        """Give freed memory back to the system, or what is taken from it next would not show."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)

    def _taken(self, field: str) -> int | None:
        """Bytes: VmRSS those of now, VmHWM the most so far."""
        match self.device.type:
            case "cuda":
                now = field == "VmRSS"
                ask = torch.cuda.memory_allocated if now else torch.cuda.max_memory_allocated
                return ask(self.device)
            case "cpu":
                return _resident(field)
            case _:
                return None


def _resident(field: str) -> int | None:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
