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


def adapted(network, targets, *, seed, rank=3, strength=0.3, **settings):
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
                factor.normal_(0, strength)
    return wrapped.eval()


def save_adapter(wrapped, folder):
    with warnings.catch_warnings(), contextlib.suppress(FileExistsError):
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(folder)
    return folder


def eomt():
    library = import_transformers()
    torch.manual_seed(0)
    config = library.EomtConfig(
        **labelled(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=64,
            patch_size=8,
            num_blocks=2,
            num_queries=6,
            num_upscale_blocks=1,
            num_register_tokens=2,
        )
    )
    network = spread(library.EomtForUniversalSegmentation(config).eval())
    network.attn_mask_probs.zero_()  # as trained ones have it
    return network, library.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": 64})


def dpt():
    library = import_transformers()
    torch.manual_seed(0)
    config = library.DPTConfig(
        **labelled(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=64,
            patch_size=16,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 16, 24, 32],
            fusion_hidden_size=16,
        )
    )
    network = spread(library.DPTForSemanticSegmentation(config).eval())
    return network, library.DPTImageProcessor(size={"height": 64, "width": 64})


_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def upernet():
    library = import_transformers()
    torch.manual_seed(0)
    backbone = library.ConvNextConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], out_features=_STAGES
    )
    config = library.UperNetConfig(
        **labelled(
            backbone_config=backbone,
            hidden_size=16,
            pool_scales=[1, 2],
            auxiliary_in_channels=24,
            auxiliary_channels=8,
        )
    )
    network = spread(library.UperNetForSemanticSegmentation(config).eval())
    return network, library.SegformerImageProcessor(size={"height": 64, "width": 96})


def mask2former(backbone=None, seed=0):
    library = import_transformers()
    torch.manual_seed(seed)
    backbone = backbone or library.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_features=_STAGES,
    )
    config = library.Mask2FormerConfig(
        **labelled(
            backbone_config=backbone,
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=32,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=2,
            dim_feedforward=32,
            num_queries=6,
        )
    )
    network = spread(library.Mask2FormerForUniversalSegmentation(config).eval())
    with torch.no_grad():
        network.class_predictor.weight.mul_(8)  # queries that stand for one class each
    return network, library.Mask2FormerImageProcessor(size={"height": 64, "width": 96})


def mask2former_dinov2():
    """Four maps of one scale, as this backbone gives them."""
    library = import_transformers()
    return mask2former(
        library.Dinov2Config(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=64,
            patch_size=8,
            out_features=_STAGES,
        ),
        seed=5,  # of others every pixel is of one class
    )


KINDS = {
    "eomt": eomt,
    "dpt": dpt,
    "upernet": upernet,
    "mask2former": mask2former,
    "mask2former_dinov2": mask2former_dinov2,
}
"""Kind of network -> a small one and its image processor."""
