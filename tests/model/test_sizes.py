"""Parameter counts of the paper's model (Table 4): 1.39 B, and 1.41 B with cross-modal attention."""

import pytest
import torch

from idol.model import PoseControlNet, UnifiedUNet
from support.tiny_networks import count_with


@pytest.mark.parametrize(("cross_modal", "billions"), [(False, 1.39), (True, 1.41)])
def test_parameters_of_the_paper(cross_modal, billions):
    assert count_with(cross_modal=cross_modal) / 1e9 == pytest.approx(billions, rel=0.01)


def test_the_second_controlnet_of_disco_costs_what_the_paper_saves():
    """Sec. 3.1 adds E(b) to the noise in place of DisCo's ControlNet of the background: 417 M fewer."""
    with torch.device("meta"):
        background = PoseControlNet.from_unet(UnifiedUNet(background="controlnet"), pose_input="latent")
    assert sum(p.numel() for p in background.parameters()) / 1e6 == pytest.approx(417, rel=0.01)


def test_defaults_are_stable_diffusion_1():
    """The default U-Net without the paper's layers has Stable Diffusion's weights and nothing else."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        ours = UnifiedUNet(temporal=None, cross_modal=False, num_modalities=1)
        theirs = UNet2DConditionModel(cross_attention_dim=768)
    extra = ours.state_dict().keys() ^ theirs.state_dict().keys()
    assert extra == {"modality_embedding.weight"}
    assert sum(p.numel() for p in theirs.parameters()) == 859_520_964
