import pytest
import torch

from semla_ros.network.aggregator import SwinBlock, from_windows, shift_mask, to_windows


def test_windows_are_cut_and_joined_without_loss():
    x = torch.randn(2, 6, 8, 5)
    windows = to_windows(x, 2)
    assert windows.shape == (2, 12, 4, 5)
    torch.testing.assert_close(windows[:, 1], x[:, :2, 2:4].reshape(2, 4, 5))
    torch.testing.assert_close(from_windows(windows, 2, height=6, width=8), x)


@pytest.mark.parametrize(("grid", "window"), [(24, 12), (8, 4), (16, 4)])
def test_the_mask_separates_patches_that_only_the_shift_brought_together(grid, window):
    shift = window // 2
    mask = shift_mask(grid, window=window, shift=shift)
    positions = torch.stack(
        torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij"), dim=-1
    )
    rolled = torch.roll(positions, (-shift, -shift), dims=(0, 1))
    origin = to_windows(rolled[None], window)[0]
    gap = (origin[:, :, None] - origin[:, None]).abs().amax(-1)
    torch.testing.assert_close(mask[:, 0] == 0, gap < window)
    assert set(mask.unique().tolist()) == {-100.0, 0.0}


def test_a_shifted_block_lets_no_information_wrap_around_the_edge(small_config):
    torch.manual_seed(0)
    block = SwinBlock(small_config, shift=small_config.window // 2).eval()
    grid = small_config.grid
    x = torch.randn(1, grid, grid, small_config.hidden_dim)
    guidance = torch.randn(1, grid, grid, small_config.appearance_dim)
    changed = x.clone()
    changed[:, -1] += torch.randn(grid, small_config.hidden_dim)
    difference = (block(x, guidance) - block(changed, guidance)).abs().amax(dim=(0, 2, 3))
    assert difference[: small_config.window // 2].max() < 1e-4
    assert difference[-2] > 1e-3
