"""Well-known encoders of pictures and of texts, with what is known of them without a network."""

from dataclasses import replace

from retarget.sources.source import Facts


def _facts(
    title: str, trained_on: str, licence: str, millions: float, megabytes: float | None = None
) -> Facts:
    """Return the facts of a model; its float32 weights are four bytes a parameter."""
    size = round(4 * millions, 1) if megabytes is None else megabytes
    return Facts("image", title, trained_on, licence, int(millions * 1e6), size, here=False)


_IN1K = "ImageNet-1k"
_IN22K = "ImageNet-22k"

KNOWN_TIMM = {
    "mobilenetv3_small_100.lamb_in1k": _facts(
        "MobileNet-V3 small", _IN1K, "Apache-2.0", 2.54, 10.2
    ),
    "resnet18.a1_in1k": _facts("ResNet-18", _IN1K, "Apache-2.0", 11.69, 46.8),
    "resnet50.a1_in1k": _facts("ResNet-50", _IN1K, "Apache-2.0", 25.56, 102.5),
    "efficientnet_b0.ra_in1k": _facts("EfficientNet-B0", _IN1K, "Apache-2.0", 5.29, 21.4),
    "convnext_tiny.fb_in22k": _facts("ConvNeXt tiny", _IN22K, "Apache-2.0", 44.56, 178.0),
    "convnext_base.fb_in22k": _facts("ConvNeXt base", _IN22K, "Apache-2.0", 109.9, 440.0),
    "vit_tiny_patch16_224.augreg_in21k": _facts(
        "ViT tiny, patches of 16", "ImageNet-21k", "Apache-2.0", 9.72, 39.0
    ),
    "vit_small_patch16_224.augreg_in21k": _facts(
        "ViT small, patches of 16", "ImageNet-21k", "Apache-2.0", 30.07, 120.0
    ),
    "vit_small_patch14_dinov2.lvd142m": _facts(
        "DINOv2 small (timm)", "LVD-142M, without labels", "Apache-2.0", 22.06, 88.2
    ),
    "swin_tiny_patch4_window7_224.ms_in22k": _facts("Swin tiny", _IN22K, "MIT", 44.55, 178.0),
    "vit_base_patch16_clip_224.openai": _facts(
        "CLIP ViT-B/16, image tower", "WIT-400M, pictures with texts", "MIT", 86.2, 345.0
    ),
}

KNOWN_HF = {
    "facebook/dinov2-small": _facts(
        "DINOv2 small", "LVD-142M, without labels", "Apache-2.0", 22.06, 88.2
    ),
    "facebook/dinov2-base": _facts(
        "DINOv2 base", "LVD-142M, without labels", "Apache-2.0", 86.58, 346.0
    ),
    "google/vit-base-patch16-224-in21k": _facts(
        "ViT base, patches of 16", "ImageNet-21k", "Apache-2.0", 86.39, 346.0
    ),
    "microsoft/resnet-50": _facts("ResNet-50", _IN1K, "Apache-2.0", 25.56, 102.5),
    "facebook/convnext-tiny-224": _facts("ConvNeXt tiny", _IN1K, "Apache-2.0", 28.59, 114.0),
}


def _text(
    title: str, trained_on: str, licence: str, millions: float, megabytes: float | None = None
) -> Facts:
    return replace(_facts(title, trained_on, licence, millions, megabytes), modality="text")


_BOOKS = "books and Wikipedia"

KNOWN_TEXT = {
    "sentence-transformers/all-MiniLM-L6-v2": _text(
        "all-MiniLM-L6-v2", "1.17 billion pairs of sentences", "Apache-2.0", 22.7, 90.9
    ),
    "sentence-transformers/all-mpnet-base-v2": _text(
        "all-mpnet-base-v2", "1.17 billion pairs of sentences", "Apache-2.0", 109.5, 438.0
    ),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": _text(
        "Paraphrase MiniLM, 50 languages", "pairs of sentences", "Apache-2.0", 117.7, 471.0
    ),
    "BAAI/bge-small-en-v1.5": _text("BGE small, English", "pairs of texts", "MIT", 33.4, 133.5),
    "intfloat/e5-small-v2": _text("E5 small", "270 million pairs of texts", "MIT", 33.4, 133.5),
    "intfloat/multilingual-e5-small": _text(
        "E5 small, 100 languages", "a billion pairs of texts", "MIT", 117.7, 471.0
    ),
    "distilbert/distilbert-base-uncased": _text(
        "DistilBERT, lower case", _BOOKS, "Apache-2.0", 67.0, 268.0
    ),
    "google-bert/bert-base-uncased": _text(
        "BERT base, lower case", _BOOKS, "Apache-2.0", 110.1, 440.4
    ),
    "google-bert/bert-base-multilingual-cased": _text(
        "BERT base, 104 languages", "Wikipedia", "Apache-2.0", 178.6, 714.3
    ),
    "FacebookAI/roberta-base": _text(
        "RoBERTa base", "books, Wikipedia, news and web pages", "MIT", 124.7, 499.0
    ),
    "FacebookAI/xlm-roberta-base": _text(
        "XLM-RoBERTa base, 100 languages", "web pages", "MIT", 278.0, 1112.2
    ),
}
