"""Where libraries keep the weights of their metrics, and whether these are on the machine.

Libraries download weights without a question as soon as a network is built. Therefore files are
looked for first, at the places where each library looks for them, and nothing is built without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HubFile:
    """A file in a folder of torch.hub's directory (`TORCH_HOME`)."""

    folder: str
    name: str

    def is_there(self) -> bool:
        return self.path().is_file()

    def path(self) -> Path:
        import torch

        return Path(torch.hub.get_dir()) / self.folder / self.name


@dataclass(frozen=True)
class HuggingFaceFile:
    """A file of a repository in Hugging Face's cache (`HF_HOME`)."""

    repo: str
    name: str

    def is_there(self) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self.repo, self.name), str)


WeightsFile = HubFile | HuggingFaceFile

ALEXNET = HubFile("checkpoints", "alexnet-owt-7be5be79.pth")
VGG16 = HubFile("checkpoints", "vgg16-397923af.pth")
INCEPTION = HubFile("checkpoints", "weights-inception-2015-12-05-6726825d.pth")
CLIP_VIT_L14 = HuggingFaceFile(
    "timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors"
)
MUSIQ_KONIQ = HubFile("pyiqa", "musiq_koniq_ckpt-e95806b9.pth")
NIQE_STATISTICS = HubFile("pyiqa", "niqe_modelparameters.mat")
MANIQA_KONIQ = HubFile("pyiqa", "ckpt_koniq10k.pt")
VIT_B8 = HuggingFaceFile("timm/vit_base_patch8_224.augreg2_in21k_ft_in1k", "model.safetensors")
CLIP_RN50 = HubFile("clip", "RN50.pt")
