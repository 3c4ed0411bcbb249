"""Where every architecture choice comes from. Imports no torch.

Sources: "paper" is Wang et al. 2017 (arXiv:1704.06904), for he2016 He et al. 2016
(arXiv:1603.05027), "paper-code" what its authors published beside it: for wang2017 the network
definitions of the ImageNet models and the Caffe they run on; "report" is the text of the 2019
report, "report-code" its authors' code and logs; "inferred" is stated nowhere and chosen here;
"deviation" differs from the source knowingly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Origin = Literal["paper", "paper-code", "report", "report-code", "inferred", "deviation"]


@dataclass(frozen=True)
class Mark:
    """One choice: what it is, its value, where it comes from, and why where that needs saying."""

    item: str
    value: str
    origin: Origin
    place: str
    """Section, table or file of the source; for an inferred choice, the nearest hint there."""
    reason: str = ""


WANG2017 = (
    Mark("stages", "3, with m Attention Modules each", "paper", "section 4.1"),
    Mark("trunk depth", "36 m + 20", "paper", "section 4.1"),
    Mark("p, t, r", "1, 2, 1", "paper", "section 4.1"),
    Mark("p, t, r of Attention-452", "2, 4, 3 with m = 6", "paper", "section 4.1, Table 6",
         "gives 10.2 M parameters where 8.6 M is printed: unresolved, both are shown"),
    Mark("residual unit", "pre-activation bottleneck 1x1, 3x3, 1x1, no biases", "paper",
         "section 4.1", "built as in He et al. 2016, which the paper follows"),
    Mark("stem", "3x3, 16 channels, stride 1, no bias, no BN", "inferred", "section 4.1",
         "the CIFAR stem of He et al. 2016; the first unit's own BN-ReLU follows"),
    Mark("channel widths", "64, 128, 256; bottlenecks 16, 32, 64", "inferred",
         "caption of Table 2", "channels as in ResNet, said there of ImageNet; read for CIFAR they "
         "give the published 1.9 M and 5.1 M parameters with 100 classes"),
    Mark("strides", "1, 2, 2 in the first unit of a stage", "inferred", "section 4.1",
         "32, 16, 8 px as in He et al. 2016"),
    Mark("units beside the modules", "2 in each stage", "paper", "section 4.1"),
    Mark("their place", "one before the modules, one after", "inferred", "section 4.1",
         "the first has to change the width; the other is placed by symmetry"),
    Mark("shortcut", "identity; 1x1 convolution of the activated input where the shape changes",
         "inferred", "section 4.1", "as in the code of He et al. 2016"),
    Mark("width of mask units", "the trunk's", "paper", "section 3"),
    Mark("attention residual learning", "H = (1 + M) T", "paper", "section 3.1, Eq. 3"),
    Mark("naive attention learning", "H = M T", "paper", "section 4.1, Table 3"),
    Mark("poolings of the mask", "3, 2, 1 in stages 1, 2, 3", "inferred", "section 3.2, Fig. 2",
         "every mask then reaches 4x4, and the skips are {2, 1, 0} as on ImageNet. The rule in the "
         "caption of Table 2, smallest mask map = smallest trunk map, would give 2, 1, 0 here, "
         "which contradicts the published parameter counts"),
    Mark("mask max-pool", "3x3, stride 2, no padding, sizes rounded up", "paper-code",
         "ImageNet definitions"),
    Mark("units between poolings", "r, and 2 r at the bottom", "paper", "section 3.2, Fig. 2"),
    Mark("mask skips", "a residual unit of the level's output, added after up-sampling",
         "paper-code", "ImageNet definitions"),
    Mark("interpolation", "bilinear, align_corners=True", "paper-code", "Interp layer of its Caffe",
         "section 3.2 says bilinear and not how corners fall"),
    Mark("interpolation arithmetic", "products with fixed matrices", "deviation", "-",
         "repeatable on a GPU; equal to the interpolation kernel to rounding"),
    Mark("mask tail", "BN-ReLU-1x1, BN-ReLU-1x1, no biases, all channels", "paper-code",
         "ImageNet definitions", "section 3.2 states the two 1x1 convolutions"),
    Mark("mask activation", "mixed: sigmoid; channel: x / ||x||; spatial: sigmoid((x - mean)/std)",
         "paper", "section 3.3, Eq. 4 to 6"),
    Mark("std of spatial attention", "population, 1e-5 added to the variance", "inferred",
         "section 3.3, Eq. 6", "a constant map must not divide by zero"),
    Mark("local mask", "3 units at full resolution and the activation", "inferred",
         "section 4.1, Table 4", "the form whose cost comes near the claimed equal FLOPs: 13.37 M "
         "against 12.71, 12.29 and 10.62 M multiply-accumulates in stages 1, 2, 3"),
    Mark("local_same_units mask", "the encoder-decoder's units without poolings", "deviation",
         "section 4.1, Table 4", "a second control: equal parameters instead of equal cost"),
    Mark("head", "BN-ReLU, global mean, linear with bias", "inferred", "section 4.1",
         "as in He et al. 2016; pre-activation leaves the last sum unnormalised"),
    Mark("initialisation", "He normal", "paper", "section 4.1"),
    Mark("initialisation, mode", "variance 2 / fan_in, the classifier included", "inferred",
         "section 4.1", "the default of the framework's MSRA filler; no layer is excepted"),
    Mark("BN eps and momentum", "1e-5; 0.1 for the new batch", "paper-code",
         "ImageNet definitions"),
    Mark("parameters on ImageNet", "31.9 M published for Attention-56", "paper", "Table 2",
         "counts four blobs a batch normalisation, the running statistics among them"),
)  # fmt: skip

HE2016 = (
    Mark("units", "18 a stage, 164 = 9 x 18 + 2 layers", "paper", "section 4"),
    Mark("residual unit", "pre-activation bottleneck, no biases", "paper", "section 4, Fig. 4(e)"),
    Mark("stem", "3x3, 16 channels, stride 1, no BN", "paper", "appendix"),
    Mark("channel widths", "64, 128, 256; bottlenecks 16, 32, 64", "paper", "appendix",
         "give the printed 1.7 M parameters"),
    Mark("strides", "1, 2, 2 in the 3x3 of a stage's first unit", "inferred", "appendix",
         "the released Torch code strides in the first 1x1"),
    Mark("shortcut", "identity; 1x1 convolution of the activated input where the shape changes",
         "paper", "appendix", "the first and last activations are treated apart there"),
    Mark("head", "BN-ReLU after the last addition, global mean, linear with bias", "paper",
         "appendix"),
    Mark("initialisation", "He normal", "paper", "appendix"),
    Mark("initialisation, mode", "variance 2 / fan_in, the classifier included", "inferred",
         "appendix", "one scheme for both families, so that only the architecture differs; the "
         "released Torch code takes fan_out"),
    Mark("optimizer and normalisation", "momentum SGD, mean image", "paper",
         "He et al. 2015, section 4.2", "the released Torch code uses Nesterov momentum and "
         "channel statistics"),
    Mark("BN eps and momentum", "1e-5; 0.1 for the new batch", "inferred", "-", "unstated"),
)  # fmt: skip

REPORT2019 = (
    Mark("stem", "5x5, 32 channels, bias", "report", "Table 5"),
    Mark("stem stride", "1", "report-code", "Table 5",
         "Table 5 prints stride 2, but its own output size of 32x32 needs 1"),
    Mark("stem BN", "BN-ReLU before the max-pool", "report-code", "-",
         "the trained Attention-56 ARL lacked it, its NAL had it: as_trained restores that"),
    Mark("stem max-pool", "2x2, stride 2", "report", "Table 5"),
    Mark("channel widths", "128, 256, 512, 1024; bottlenecks a quarter", "report", "Table 5"),
    Mark("modules", "(1, 1, 1) in Attention-56, (1, 2, 3) in Attention-92", "report", "Table 5"),
    Mark("residual unit", "three BN-ReLU-conv with biases, a 1x1 convolution of the raw input as "
         "shortcut, always", "report-code", "-", "needed for the authors' counts to the unit"),
    Mark("strides", "1, 2, 2, 1 in the first unit of a stage", "report", "Table 5"),
    Mark("padding of stride-2 convolutions", "1 pixel on each side", "deviation", "-",
         "Keras pads such 3x3 convolutions below and to the right only, which shifts the grid by "
         "one pixel against the 1x1 shortcut; sizes and counts are equal"),
    Mark("units inside a module", "full width (C, C, C)", "report-code", "-"),
    Mark("p, t, r", "1, 1, 1", "report-code", "Fig. 1",
         "text and figure give the trunk two units; the code's loop kept only the last: "
         "fix_trunk chains both"),
    Mark("trunk depth", "47 and 74 weighted layers", "report-code", "Table 5",
         "follows from the lost trunk unit; 56 and 92 with fix_trunk"),
    Mark("skips", "1, 0, 0 in stages 1, 2, 3 (2, 1, 1 poolings)", "report-code", "section 5.3",
         "the report prints {2, 1, 0}: option skips=printed"),
    Mark("mask max-pool", "2x2, stride 2", "report-code", "-"),
    Mark("interpolation", "nearest, x2", "report-code", "-"),
    Mark("mask tail", "1x1, 1x1 with biases and no BN, sigmoid", "report-code", "section 3.3"),
    Mark("attention residual learning", "H = (1 + M) T", "report", "section 3.3, Eq. 1"),
    Mark("naive attention learning", "H = M T", "report", "Table 6"),
    Mark("Residual Inception Unit", "option unit=inception, off by default", "report",
         "section 3.2", "described in the prose, nowhere in the code"),
    Mark("Residual Inception Unit, form", "branches as wide as the bottleneck on a shared BN-ReLU, "
         "BN-ReLU between the two 1x1 and before the projection", "inferred", "section 3.2",
         "the prose names the branches only; this keeps the depth of 3 layers"),
    Mark("head", "4x4 average, dropout, linear; no BN-ReLU before", "report-code", "Table 5"),
    Mark("average pool at other sizes", "mean over what is left", "inferred", "Table 5",
         "the same thing at 32 px"),
    Mark("dropout", "0.4", "report-code", "Table 5",
         "not printed; the trained Attention-56 ARL had none, which as_trained restores"),
    Mark("initialisation", "Glorot uniform, biases 0", "report-code", "-", "Keras default"),
    Mark("BN eps", "1e-3", "report-code", "-", "Keras default"),
    Mark("BN momentum", "0.01 for the new batch", "report-code", "-", "Keras default, 0.99 there"),
)  # fmt: skip

PROVENANCE: Mapping[str, tuple[Mark, ...]] = {
    "wang2017": WANG2017,
    "he2016": HE2016,
    "report2019": REPORT2019,
}
