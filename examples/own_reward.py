from rlvr_world_hf import VerifiableReward


class EdgeReward(VerifiableReward):
    """Rewards vertical edges where the recorded frames have them."""

    name, higher_is_better, best, floor = "edge_mae", False, 0.0, 1.0  # of the metric; the reward is -edge_mae

    def measure(self, predicted, reference, *, context=None):  # (B, S, 3, H, W) in [0, 1] -> (B, S)
        return (predicted.diff(dim=-1) - reference.diff(dim=-1)).abs().mean(dim=(2, 3, 4))
