"""MM-Diffusion's attention between two modalities (Ruan et al., CVPR 2023, Sec. 3.3), for video and depth.

Each frame of one modality attends to a short window of the other's frames, which begins at a random distance,
the same for all frames of a step. Over the steps all frames attend to one another at the cost of a few.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idol.model.attention import Attention, KeysValues
from idol.model.modality import ClipShape

WINDOWS = (1, 4, 8)
"""Frames of a window at each resolution with attention, finest first; in the middle block all frames."""


class RandomShiftAttention(nn.Module):
    """Attention from frame i of each modality to the other's frames i + r ... i + r + window - 1 (modulo f).

    The shift r in 0 ... f - window is the fraction `clip.shift` of that range. Initialized to zero.

    Args:
        channels: width of the tokens.
        heads: heads of the attention.
        window: frames attended to; None for all.
    """

    def __init__(self, channels: int, heads: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.attns = nn.ModuleList(Attention(channels, heads, channels, zero_init=True) for _ in range(2))

    def forward(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Apply the attention.

        Args:
            x: folded (b·m·f, c, h, w) with m = 2.
            clip: sizes of the folded axes.
        """
        modalities = clip.unfold(x.flatten(2).transpose(1, 2)).unbind(1)  # b f (h w) c each
        normed = [norm(tokens.flatten(0, 1)) for norm, tokens in zip(self.norms, modalities, strict=True)]
        seen = self._frames(clip, x.device)
        frames = ClipShape(clip.b * clip.f, 1, 1)
        attended = []
        for own, other, attn in zip(normed, reversed(normed), self.attns, strict=True):
            kv = KeysValues(*(_gathered(t, seen, clip) for t in attn.keys_values(other)))  # type: ignore[operator]
            attended.append(attn.cross_attention(own, kv, frames)[0].unflatten(0, (clip.b, clip.f)))  # type: ignore[operator]
        both = torch.stack(attended, 1).flatten(0, 2)  # (b m f) (h w) c
        return x + both.transpose(1, 2).unflatten(2, x.shape[2:])

    def _frames(self, clip: ClipShape, device: torch.device) -> Tensor:
        """Return the frames (f, window) of the other modality that each frame attends to."""
        window = clip.f if self.window is None else min(self.window, clip.f)
        first = int(clip.shift * (clip.f - window + 1))
        own, ahead = torch.arange(clip.f, device=device), torch.arange(window, device=device)
        return (own[:, None] + first + ahead) % clip.f


def _gathered(x: Tensor, frames: Tensor, clip: ClipShape) -> Tensor:
    """Gather keys or values of frames (b·f, heads, s, d) to windows (b·f, heads, window·s, d)."""
    windows = x.unflatten(0, (clip.b, clip.f))[:, frames]  # b f window heads s d
    return windows.movedim(2, 3).flatten(3, 4).flatten(0, 1)
