"""What is found before a model is used: configs, heads, quantisation, vocabularies, ends of answers."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tokenizers import AddedToken, Tokenizer

from droidft.engine.generation.generate import generate, generate_batch
from droidft.engine.generation.sampling import Sampling
from droidft.engine.methods.rollouts import draw
from droidft.engine.model import loading
from droidft.engine.model.architectures import understood
from droidft.engine.model.trainable import METAL_ONLY, UNTRAINABLE, examine_for_training
from droidft.engine.model.vocabulary import padding
from droidft.errors import ModelError
from tests.engine.model.architectures import TABLE
from tests.tiny import LLAMA, VOCABULARY, llama, write_model

TEXT = mx.array([[5, 9, 77, 13, 200, 4, 4, 91]])


def rewrite(folder: Path, **changes: Any) -> Path:
    """The folder with its config.json changed; None takes a key out."""
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def add_tokens(folder: Path, *names: str) -> Path:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def save(folder: Path, weights: dict[str, mx.array]) -> None:
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


# -- configs


def test_a_config_of_transformers_5_gives_the_logits_of_the_same_model_before(tmp_path: Path) -> None:
    before = write_model(tmp_path / "before", rope_theta=300.0)
    after = write_model(tmp_path / "after", rope_theta=300.0)
    rewrite(after, rope_theta=None, rope_parameters={"rope_theta": 300.0, "rope_type": "default"})
    logits = [loading.load_model(folder)[0](TEXT) for folder in (before, after)]
    assert mx.array_equal(*logits)
    other = loading.load_model(write_model(tmp_path / "other"))[0](TEXT)
    assert not mx.allclose(logits[0], other, atol=1e-2)


def test_a_scaling_that_the_code_does_not_read_is_refused_by_name() -> None:
    config = {**LLAMA, "model_type": "cohere", "layer_norm_eps": 1e-5, "logit_scale": 0.1}
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 64}
    with pytest.raises(ModelError, match="sets rope_type 'yarn'"):
        understood({**config, "rope_parameters": yarn})


def test_bases_by_kind_of_layer_that_the_code_cannot_tell_apart_are_refused_by_name() -> None:
    kinds = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    }
    with pytest.raises(ModelError, match=r"rope_theta 500\.0 for the layers of kind 'sliding_attention'"):
        understood({**LLAMA, "rope_theta": None, "rope_parameters": kinds})


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "gelu"), ("attn_logit_softcapping", 30.0), ("logit_cap", 5), ("use_new_trick", True)],
)
def test_a_key_that_changes_the_model_and_is_not_read_is_a_warning_by_name(key: str, value: Any) -> None:
    warnings = understood({**LLAMA, key: value}).warnings
    assert len(warnings) == 1
    assert f"{key} is {value!r}" in warnings[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("hidden_act", "silu"), ("attention_dropout", 0.1), ("torch_dtype", "bfloat16"), ("use_new_trick", False),
     ("pretraining_tp", 2), ("dtype", "float32"), ("transformers_version", "5.2.0")],
)  # fmt: skip
def test_a_key_that_changes_nothing_is_no_warning(key: str, value: Any) -> None:
    assert understood({**LLAMA, key: value}).warnings == ()


def test_what_config_json_leaves_out_has_the_makers_default() -> None:
    # mlx-lm ties Llama's head by default, its makers do not.
    config = {key: value for key, value in LLAMA.items() if key != "tie_word_embeddings"}
    assert understood(config).config["tie_word_embeddings"] is False
    assert understood(config, stored={"model.embed_tokens.weight"}).config["tie_word_embeddings"] is True


# -- heads and tensors


def test_a_stored_head_that_differs_from_a_tied_embedding_is_used_and_said(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = dict(tree_flatten(llama().parameters()))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * 2
    save(folder, weights)
    assert [note for note in loading.examine(folder) if "lm_head.weight differs" in note]
    untied, _ = loading.load_model(folder)
    assert mx.allclose(untied(TEXT), llama()(TEXT) * 2, atol=1e-4)

    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    save(folder, weights)
    assert loading.examine(folder) == ()
    assert mx.allclose(loading.load_model(folder)[0](TEXT), llama()(TEXT), atol=1e-5)


def test_an_untied_head_that_is_not_stored_is_named(tmp_path: Path) -> None:
    folder = rewrite(write_model(tmp_path / "model"), tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"lack 1 tensor that config.json asks for: lm_head\.weight"):
        loading.examine(folder)


def test_biases_that_config_json_denies_are_named(tmp_path: Path) -> None:
    folder = rewrite(write_model(tmp_path / "model", attention_bias=True), attention_bias=False)
    with pytest.raises(ModelError, match=r"no place for: model\.layers\.0\.self_attn\.k_proj\.bias"):
        loading.examine(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantised with 'bitsandbytes' cannot be read"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "quantised with gptq: mlx-lm reads none"),
        ({"quant_method": "awq", "bits": 8}, "quantised with awq: mlx-lm reads 4 bits in the layout gemm"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "4 bits in gemv"),
    ],
)
def test_weights_packed_in_a_way_that_cannot_be_read_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = rewrite(write_model(tmp_path / "model"), quantization_config=settings)
    with pytest.raises(ModelError, match=message):
        loading.examine(folder)


def test_fp8_of_an_architecture_without_code_for_it_is_refused(tmp_path: Path) -> None:
    folder = rewrite(write_model(tmp_path / "model"), quantization_config={"quant_method": "fp8"})
    weights = dict(tree_flatten(llama().parameters()))
    save(folder, {**weights, "model.layers.0.mlp.up_proj.weight_scale_inv": mx.ones((1, 1))})
    with pytest.raises(ModelError, match="quantised with fp8: mlx-lm does not unpack them for llama"):
        loading.examine(folder)


# -- vocabularies


def test_tokens_beyond_the_embedding_are_refused_with_their_names(tmp_path: Path) -> None:
    folder = add_tokens(write_model(tmp_path / "model"), *(f"<|extra_{number}|>" for number in range(40)))
    for ask in (loading.load_tokenizer, loading.examine):
        with pytest.raises(ModelError, match=r"embedding of 272 rows lacks: '<\|extra_13\|>' \(272\).* and 22 more"):
            ask(folder)


def test_a_tokenizer_that_is_shifted_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["model"]["vocab"] = {token: index + 100 for token, index in settings["model"]["vocab"].items()}
    for token in settings["added_tokens"]:
        token["id"] += 100
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="has tokens that its embedding of 272 rows lacks"):
        loading.load_tokenizer(folder)


def test_a_place_for_pictures_beyond_the_embedding_is_said_and_let_pass(tmp_path: Path) -> None:
    names = [f"<|used_{number}|>" for number in range(13)]
    folder = add_tokens(write_model(tmp_path / "model"), *names, "<image_soft_token>")
    assert [note for note in loading.examine(folder) if "<image_soft_token>" in note]


def test_rows_without_a_token_are_never_drawn(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = dict(tree_flatten(llama().parameters()))
    # Rows 259 to 271 belong to no token; make them the likeliest by far.
    rows = mx.arange(VOCABULARY)[:, None] >= 259
    weights["model.embed_tokens.weight"] *= mx.where(rows, 30.0, 1.0)
    save(folder, weights)
    model, tokenizer = loading.load_model(folder)[0], loading.load_tokenizer(folder)
    assert int(mx.argmax(model(TEXT)[0, -1]).item()) >= 259
    for sampling in (Sampling(max_tokens=8), Sampling(max_tokens=8, temperature=2.0, top_k=0, seed=1)):
        assert all(token.token_id < 259 for token in generate(model, tokenizer, "hello", sampling))
    assert generate_batch(model, tokenizer, ["hello", "there"], max_tokens=8)
    logits = model(TEXT)[:, -1]
    unused = np.array(padding(tokenizer, VOCABULARY))
    drawn, logps, _ = draw(logits, np.array([0.999]), 1.0, unused)
    assert drawn[0] < 259
    # The probability stays the model's own, as the loss has it.
    whole = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    assert logps[0] == pytest.approx(whole[0, int(drawn[0])].item(), abs=1e-4)


# -- ends


def test_the_templates_end_of_turn_ends_answers_and_is_said(tmp_path: Path) -> None:
    folder = rewrite(write_model(tmp_path / "model"), eos_token_id=256)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = loading.load_tokenizer(folder)
    assert set(tokenizer.eos_token_ids) == {256, 258}
    [note] = loading.tokenizer_notes(tokenizer)
    assert "ends turns with <|im_end|>" in note
    assert loading.examine(folder) == (note,)


def test_a_declared_end_is_no_news(tmp_path: Path) -> None:
    assert loading.examine(write_model(tmp_path / "model")) == ()


def test_a_template_that_ends_turns_with_text_adds_nothing(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["chat_template"] = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert set(loading.load_tokenizer(folder).eos_token_ids) == {258}


# -- what cannot be trained


def test_the_lists_of_what_cannot_be_trained_are_those_that_fail() -> None:
    listed = {name: entry.untrainable for name, entry in TABLE.items() if entry.untrainable}
    assert listed == {**UNTRAINABLE, **METAL_ONLY}


def test_what_cannot_be_trained_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deepseek_v41"}))
    with pytest.raises(ModelError, match="deepseek_v41 cannot be trained here: mlx-lm cannot differentiate it"):
        examine_for_training(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert examine_for_training(tmp_path) == ()
