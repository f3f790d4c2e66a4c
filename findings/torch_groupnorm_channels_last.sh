#!/usr/bin/env bash
# torch 2.13.0 on CPUs: GroupNorm of a channels_last tensor takes the variance as E[x^2] - E[x]^2 in float32 and cancels where the mean is large
# beside the spread; the same numbers in contiguous layout come out right. Normalized values are at most about 5 in size, so
# an error of 1 or 10 is noise, not rounding. Layout is supposed to change speed only: a U-Net that is switched to channels_last for speed can
# silently lose a group whose activations have drifted.
# Seen (largest error against float64): mean 10, spread 0.1: contiguous 2e-5, channels_last 0.02; mean 100,
# spread 0.1: contiguous 5e-5, channels_last 1 to 11 (how the sums are split decides). Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > "$folder/check.py" <<'P'
import torch

torch.set_num_threads(1)


def errors(mean, spread):
    torch.manual_seed(0)
    x = (mean + spread * torch.randn(1, 32, 32, 32, dtype=torch.float64)).float()
    want = torch.nn.functional.group_norm(x.double(), 8)
    layouts = x, x.contiguous(memory_format=torch.channels_last)
    return [(torch.nn.functional.group_norm(y, 8) - want).abs().max().item() for y in layouts]


print("torch", torch.__version__)
for mean, spread in ((0, 1), (10, 0.1), (100, 0.1)):
    plain, last = errors(mean, spread)
    print(f"mean {mean}, spread {spread}: contiguous {plain:.1e}, channels_last {last:.1e}")
assert max(errors(0, 1)) < 1e-5
assert errors(10, 0.1)[0] < 1e-3 < errors(10, 0.1)[1]
assert errors(100, 0.1)[0] < 1e-3 and errors(100, 0.1)[1] > 0.1
P
"$folder/venv/bin/python" "$folder/check.py"
echo "as stated"
