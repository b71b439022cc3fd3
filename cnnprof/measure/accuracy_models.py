"""The networks that predictions are judged on, written down before any of them was measured.

CNNs of torchvision and timm, of many families, at 224 or what they were made for. No calibration sees them: the
synthetic suite is made of random numbers. Batch 1; the list does not change with results.
"""

from __future__ import annotations

__all__ = ["MODELS"]

MODELS: tuple[str, ...] = (
    "torchvision:alexnet",
    "torchvision:densenet121",
    "torchvision:densenet161",
    "torchvision:efficientnet_b0",
    "torchvision:efficientnet_v2_s",
    "torchvision:googlenet",
    "torchvision:inception_v3",
    "torchvision:mnasnet0_5",
    "torchvision:mnasnet1_0",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_large",
    "torchvision:mobilenet_v3_small",
    "torchvision:regnet_x_400mf",
    "torchvision:regnet_x_1_6gf",
    "torchvision:regnet_y_800mf",
    "torchvision:resnet18",
    "torchvision:resnet34",
    "torchvision:resnet50",
    "torchvision:resnext50_32x4d",
    "torchvision:wide_resnet50_2",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:shufflenet_v2_x1_0",
    "torchvision:squeezenet1_0",
    "torchvision:squeezenet1_1",
    "torchvision:vgg11",
    "torchvision:vgg13_bn",
    "torchvision:convnext_tiny",
    "timm:convnext_nano",
    "timm:cspresnet50",
    "timm:darknet53",
    "timm:dla34",
    "timm:dpn68",
    "timm:edgenext_small",
    "timm:efficientnet_lite0",
    "timm:fbnetc_100",
    "timm:ghostnet_100",
    "timm:hardcorenas_a",
    "timm:hrnet_w18_small",
    "timm:lcnet_100",
    "timm:mixnet_s",
    "timm:mobilenetv4_conv_small",
    "timm:regnetz_b16",
    "timm:res2net50_26w_4s",
    "timm:rexnet_100",
    "timm:selecsls42b",
    "timm:seresnet50",
    "timm:tf_efficientnet_b1",
    "timm:tinynet_c",
)
