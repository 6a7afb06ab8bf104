"""Checkpoints of transformers and adapters of PEFT, of small networks with seeded weights."""

import contextlib
import warnings

import torch

from semla_ros.prepare.bundler.transformers.checkpoint import import_transformers, quietly

LABELS = ("road", "car", "sky", "tree")
SIZE = (64, 96)
LINEAR = ["q_proj", "v_proj", "o_proj", "fc1"]
CONVOLUTIONS = ["classifier", "linear_fuse", "stages.1.patch_embeddings.proj"]


def labelled(**sizes):
    names = dict(enumerate(LABELS))
    return {**sizes, "id2label": names, "label2id": {name: i for i, name in names.items()}}


def segformer(seed=0):
    library = import_transformers()
    torch.manual_seed(seed)
    config = library.SegformerConfig(
        **labelled(
            depths=[1, 1, 1, 1],
            hidden_sizes=[8, 16, 24, 32],
            num_attention_heads=[1, 2, 2, 4],
            decoder_hidden_size=16,
            sr_ratios=[4, 2, 1, 1],
        )
    )
    network = library.SegformerForSemanticSegmentation(config).eval()
    return spread(network)


def spread(network):
    """Make the answers of fresh weights differ from pixel to pixel and class to class."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and "position" not in name:
                weight.normal_(0, 1.5 * weight[0].numel() ** -0.5)
    return network


def save(network, folder, *, processor=None):
    library = import_transformers()
    with quietly():
        network.save_pretrained(folder)
        own = processor or library.SegformerImageProcessor(
            size=dict(zip(("height", "width"), SIZE, strict=True))
        )
        own.save_pretrained(folder)
    return folder


def adapted(network, targets, *, seed, rank=3, **settings):
    """Return `network` wrapped by PEFT, with factors as training leaves them."""
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(network, config)
    with torch.no_grad():
        for name, factor in wrapped.named_parameters():
            if "lora_B" in name:
                factor.normal_(0, 0.3)
    return wrapped.eval()


def save_adapter(wrapped, folder):
    with warnings.catch_warnings(), contextlib.suppress(FileExistsError):
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(folder)
    return folder
