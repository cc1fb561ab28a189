from rlvr_world_hf.hub.tiny_gemma import SIZES, WORDS, build_tiny_gemma


def test_it_is_a_gemma_of_sliding_windows_with_tied_embeddings() -> None:
    model = build_tiny_gemma()
    assert model.config.layer_types == ["sliding_attention"] * SIZES["num_hidden_layers"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.num_parameters() < 60_000 and len(WORDS) == len({*WORDS})
