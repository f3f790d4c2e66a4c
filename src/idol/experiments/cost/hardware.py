"""The device that computes, and the memory that is used on it."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import torch

from idol.errors import UserError


def check_device(device: str) -> torch.device:
    """Return the device, after a test computation on it.

    Raises:
        UserError: If it cannot be used here.
    """
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's words for it
        reason = str(error).partition("\n")[0][:160]
        raise UserError("device", f"{device} cannot be used ({reason})", "try `device=cpu`") from error
    return torch.device(device)


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()


def processor_name() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class MemoryMeter:
    """The peak memory after `start`, minus the memory in use when the meter was created.

    Args:
        device: Whose memory: a CUDA device's own; for the CPU, that of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._release()
        self.before = self._bytes("VmRSS") or 0

    def start(self) -> None:
        """Forget the peak so far, which belongs to building, counting and warming up."""
        self._release()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self._bytes("VmHWM") is not None:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def read(self) -> int | None:
        """Return bytes; None where the system does not tell."""
        peak = self._bytes("VmHWM")
        return None if peak is None else peak - self.before

    def _release(self) -> None:
        """Return freed memory to the system; otherwise reusing it would not be counted."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)

    def _bytes(self, field: str) -> int | None:
        """Return bytes: of VmRSS those in use, of VmHWM the peak."""
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
