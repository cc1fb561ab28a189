from huggingface_hub import ModelCard

from rlvr_world_hf.hub.inverse_card import TAGS, inverse_card
from rlvr_world_hf.rewards.inverse_dynamics import InverseDynamicsConfig


def test_the_card_tells_what_is_read_how_well_and_how_to_use_it() -> None:
    config = InverseDynamicsConfig(
        action_low=[0.0, 0.0], action_high=[512.0, 512.0], fps=2.0, action_law="absolute", action_bins=32
    )
    measured = {"error": 8.5, "guess_error": 90.25, "errors": [8.0, 9.0], "pairs": 1234, "log_probability": -0.75}
    text = inverse_card(config, measured, world="PushT", data="Episodes of a **simulator**.")
    card = ModelCard(text)
    assert card.data.library_name == "rlvr_world_hf" and card.data.tags == [*TAGS]
    for told in ("of PushT", "64x64 pixels 0.5 s apart", "2 numbers", "by the absolute law", "32 bins", "1234", "8.5",
                 "90.2", "-0.750 nats", "8, 9", "**simulator**", "ActionRecoveryReward("):  # fmt: skip
        assert told in text, told
    assert "Given two frames" in text and "from the one to the other" in " ".join(text.split())
    three = inverse_card(InverseDynamicsConfig(given_frames=2), {**measured, "pairs": 3}, world="W", data="D")
    assert "Given 3 frames" in three and "from the last but one to the last:" in " ".join(three.split())
    plain = inverse_card(InverseDynamicsConfig(), {**measured, "pairs": 3}, world="W", data="D")
    assert "apart" not in plain and "law:" not in plain and "bins" not in plain
