"""The convolutional decoder: two doublings of every class map, guided by CLIP's taps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semla_ros.network.config import CatSegConfig

_CHANNELS_PER_GROUP = 16


class DoubleConv(nn.Module):
    """Twice: 3 x 3 convolution, group normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        groups = max(1, out_channels // _CHANNELS_PER_GROUP)
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.GroupNorm(groups, out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out_channels, H, W)."""
        out: Tensor = self.double_conv(x)
        return out


class Up(nn.Module):
    """Double the resolution, then mix in the guidance of that resolution."""

    def __init__(self, in_channels: int, out_channels: int, guidance_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels - guidance_channels, 2, stride=2)
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Return (B * T, out, 2H, 2W) of `x` (B * T, in, H, W); `guidance` (B, G, 2H, 2W)."""
        x = self.up(x)
        batch = guidance.shape[0]
        x = torch.unflatten(x, 0, (batch, -1))
        spread = guidance.unsqueeze(1).expand(-1, x.shape[1], -1, -1, -1)
        out: Tensor = self.conv(torch.cat([x, spread], dim=2).flatten(0, 1))
        return out


def guidance_projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution with ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU())


def decoder_stages(config: CatSegConfig) -> tuple[Up, Up]:
    """Return the two doublings of the decoder.

    Source: CAT-Seg; the up-convolution leaves room for the guidance channels.
    """
    first, second = config.decoder_dims
    guide_first, guide_second = config.decoder_guidance_dims
    return (
        Up(config.hidden_dim, first, guide_first),
        Up(first, second, guide_second),
    )
