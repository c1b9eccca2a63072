"""Spoilt config.json of an encoder: unknown and internal keys, absurd sizes, files beside it that name code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.corpus import (
    CANARY,
    Case,
    Opener,
    Outcome,
    canary_code,
    encoder_copy,
    model_copy,
    nested,
    read,
    sealed,
    write,
)
from hostile.good import Good

Spoil = Callable[[Path, Good], None]
"""Changes an encoder folder."""


def cases() -> list[Case]:
    """Every defect in an encoder folder and in the encoder of a model folder."""
    made = []
    for name, (spoil, outcome) in {**VALUES, **FILES}.items():
        made.append(Case(f"config/{name}", "encoder", partial(_in_encoder, spoil), outcome))
        made.append(Case(f"model-config/{name}", "model", partial(_in_model, spoil), outcome, quick=False))
    return made


def _in_encoder(spoil: Spoil, good: Good, folder: Path) -> Path:
    encoder = encoder_copy(good, folder)
    spoil(encoder, good)
    return encoder


def _in_model(spoil: Spoil, good: Good, folder: Path) -> Path:
    model = model_copy(good, folder)
    spoil(model / "encoder", good)
    return sealed(model)


def _set(**values: Any) -> Spoil:
    return lambda encoder, _: void(write(encoder / "config.json", read(encoder / "config.json") | values))


def _text(text: str | bytes) -> Spoil:
    return lambda encoder, _: void(write(encoder / "config.json", text))


def _beside(name: str, value: Any) -> Spoil:
    return lambda encoder, _: void(write(encoder / name, value))


def void(_: Any) -> None:
    """For lambdas that are called for what they do."""


def _code_beside(encoder: Path, _: Good) -> None:
    """Python files that an import would find, and a configuration that asks for them."""
    code = canary_code(encoder.parent)
    for name in ("modeling_x.py", "configuration_x.py", "tokenization_x.py", "sitecustomize.py", "tokenizer.py",
                 "transformers.py", "torch.py", "__init__.py", "conftest.py"):  # fmt: skip
        write(encoder / name, code)
        write(encoder.parent / name, code)


def _auto_map(encoder: Path, good: Good) -> None:
    _code_beside(encoder, good)
    auto = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.XModel",
            "AutoTokenizer": ["tokenization_x.X", None]}  # fmt: skip
    write(encoder / "config.json", read(encoder / "config.json") | {"auto_map": auto, "trust_remote_code": True})
    tokenizer = encoder / "tokenizer_config.json"
    write(tokenizer, read(tokenizer) | {"auto_map": auto, "tokenizer_class": "X", "trust_remote_code": True})


def _own_family(encoder: Path, good: Good) -> None:
    _auto_map(encoder, good)
    write(encoder / "config.json", read(encoder / "config.json") | {"model_type": "x"})


def _pickles_beside(encoder: Path, _: Good) -> None:
    folder = encoder.parent if (encoder.parent / "manyheads.json").exists() else encoder
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl", "model.ckpt.data"):
        write(encoder / name, pickle.dumps(Opener(folder.parent.parent / CANARY)))


def _pickle_alone(encoder: Path, good: Good) -> None:
    _pickles_beside(encoder, good)
    (encoder / "model.safetensors").unlink()


def _index(target: str) -> Spoil:
    def spoil(encoder: Path, good: Good) -> None:
        name = target.replace("OUTSIDE", str(good.encoder))
        weights = {"embeddings.LayerNorm.weight": name}
        write(encoder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": weights})
        (encoder / "model.safetensors").rename(encoder / "model-00001-of-00001.safetensors")

    return spoil


def _link(name: str, target: str) -> Spoil:
    """A file of the encoder is a link."""

    def spoil(encoder: Path, good: Good) -> None:
        (encoder / name).unlink()
        os.symlink(target.replace("OUTSIDE", str(good.secret)), encoder / name)

    return spoil


def _pipe(name: str) -> Spoil:
    def spoil(encoder: Path, _: Good) -> None:
        (encoder / name).unlink()
        os.mkfifo(encoder / name)

    return spoil


VALUES: dict[str, tuple[Spoil, Outcome]] = {
    "unknown-keys": (_set(colour="red", __class__="os.system", a={"b": [1]}), "either"),
    "internal-attention": (_set(_attn_implementation="flash_attention_2"), "refused"),
    "internal-attention-hub-kernel": (
        _set(_attn_implementation="stranger/kernel", attn_implementation="a/b"),
        "refused",
    ),
    "internal-experts": (_set(_experts_implementation="stranger/kernel"), "refused"),
    "internal-name-or-path": (_set(_name_or_path="/etc"), "answered"),
    "internal-commit": (_set(_commit_hash="../../x", transformers_version="99999999999"), "either"),
    "architectures-unknown": (_set(architectures=["os.system", "X"]), "answered"),
    "architectures-no-list": (_set(architectures=7), "either"),
    "torch-dtype-code": (_set(torch_dtype="__import__('os')"), "either"),
    "torch-dtype-attribute": (_set(dtype="save"), "either"),
    "torch-dtype-number": (_set(dtype=16), "either"),
    "trust-remote-code": (_set(trust_remote_code=True), "answered"),
    "quantization": (_set(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "refused"),
    "quantization-unknown": (_set(quantization_config={"quant_method": "os.system"}), "refused"),
    "quantization-a-string": (_set(quantization_config="gptq"), "refused"),
    "compression": (_set(compression_config={"quant_method": "compressed-tensors"}), "either"),
    "adapter-source": (_set(base_model_name_or_path="stranger/x", adapter_config={"peft_type": "LORA"}), "either"),
    "method-shadowed": (_set(to_dict="x", get_text_config=7, save_pretrained=1), "either"),
    "property-shadowed": (_set(use_return_dict=1, num_labels=10**9, rope_parameters="x"), "either"),
    "labels-10-to-the-9": (_set(num_labels=10**9), "either"),
    "label-names-list": (_set(id2label=[1, 2], label2id="x"), "either"),
    "hidden-size-10-to-the-9": (_set(hidden_size=10**9), "refused"),
    "hidden-size-10-to-the-6": (_set(hidden_size=10**6), "refused"),
    "hidden-size-zero": (_set(hidden_size=0), "refused"),
    "hidden-size-negative": (_set(hidden_size=-16), "refused"),
    "hidden-size-text": (_set(hidden_size="16"), "refused"),
    "hidden-size-list": (_set(hidden_size=[16]), "refused"),
    "hidden-size-null": (_set(hidden_size=None), "refused"),
    "hidden-size-true": (_set(hidden_size=True), "refused"),
    "hidden-size-nan": (_set(hidden_size=float("nan")), "refused"),
    "hidden-size-infinite": (_set(hidden_size=float("inf")), "refused"),
    "hidden-size-float": (_set(hidden_size=16.5), "refused"),
    "heads-zero": (_set(num_attention_heads=0), "refused"),
    "heads-three": (_set(num_attention_heads=3), "refused"),
    "heads-negative": (_set(num_attention_heads=-2), "refused"),
    "heads-10-to-the-9": (_set(num_attention_heads=10**9), "refused"),
    "layers-10-to-the-6": (_set(num_hidden_layers=10**6), "refused"),
    "layers-zero": (_set(num_hidden_layers=0), "refused"),
    "layers-negative": (_set(num_hidden_layers=-1), "refused"),
    "layers-one-less": (_set(num_hidden_layers=1), "refused"),
    "inner-size-10-to-the-12": (_set(intermediate_size=10**12), "refused"),
    "vocabulary-10-to-the-12": (_set(vocab_size=10**12), "refused"),
    "vocabulary-10-to-the-400": (_set(vocab_size=10**400), "refused"),
    "vocabulary-one": (_set(vocab_size=1), "refused"),
    "positions-10-to-the-9": (_set(max_position_embeddings=10**9), "refused"),
    "positions-negative": (_set(max_position_embeddings=-5), "refused"),
    "types-10-to-the-9": (_set(type_vocab_size=10**9), "refused"),
    "types-zero": (_set(type_vocab_size=0), "refused"),
    "padding-past-the-end": (_set(pad_token_id=10**6), "refused"),
    "padding-negative": (_set(pad_token_id=-(10**6)), "refused"),
    "padding-text": (_set(pad_token_id="x"), "refused"),
    "activation-unknown": (_set(hidden_act="os.system"), "refused"),
    "activation-list": (_set(hidden_act=["gelu", {"x": 1}]), "refused"),
    "norm-epsilon-nan": (_set(layer_norm_eps=float("nan")), "refused"),
    "norm-epsilon-text": (_set(layer_norm_eps="x"), "refused"),
    "dropout-two": (_set(hidden_dropout_prob=2.0), "refused"),
    "chunks-10-to-the-9": (_set(chunk_size_feed_forward=10**9), "either"),
    "decoder": (_set(is_decoder=True), "refused"),
    "cross-attention": (_set(is_decoder=True, add_cross_attention=True), "refused"),
    "family-missing": (lambda e, _: void(write(e / "config.json", {"hidden_size": 16})), "refused"),
    "family-null": (_set(model_type=None), "refused"),
    "family-list": (_set(model_type=["bert"]), "refused"),
    "family-path": (_set(model_type="../../x"), "refused"),
    "family-gpt2": (_set(model_type="gpt2"), "refused"),
    "family-other-encoder": (_set(model_type="modernbert"), "refused"),
    "family-composite": (_set(model_type="encoder-decoder", encoder={"model_type": "bert"}), "refused"),
    "family-long": (_set(model_type="x" * 10_000_000), "refused"),
}

FILES: dict[str, tuple[Spoil, Outcome]] = {
    "nothing": (_text(""), "refused"),
    "garbage": (_text(bytes(range(256)) * 40), "refused"),
    "a-list": (_text("[]"), "refused"),
    "a-number": (_text("7"), "refused"),
    "nested": (_text(nested(100_000)), "refused"),
    "nested-inside": (
        _text('{"model_type": "bert", "x": ' + nested(100_000, '{"a":', "}").replace(":}", ":1}") + "}"),
        "refused",
    ),
    "huge-integer": (_text('{"model_type": "bert", "hidden_size": ' + "9" * 100_000 + "}"), "refused"),
    "keys-twice": (_text('{"model_type": "gpt2", "model_type": "bert"}'), "refused"),
    "100-mb": (_text('{"model_type": "bert", "x": "' + "x" * 100_000_000 + '"}'), "refused"),
    "lone-surrogate": (_text('{"model_type": "bert\\ud800"}'), "refused"),
    "utf16": (_text('{"model_type": "bert"}'.encode("utf-16")), "refused"),
    "auto-map-with-code": (_auto_map, "answered"),
    "own-family-with-code": (_own_family, "refused"),
    "code-beside": (_code_beside, "answered"),
    "pickles-beside": (_pickles_beside, "answered"),
    "pickle-alone": (_pickle_alone, "refused"),
    "adapter-beside": (
        _beside("adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": "../../outside", "r": 8}),
        "refused",
    ),
    "generation-beside": (_beside("generation_config.json", {"max_length": "x", "auto_map": "x"}), "either"),
    "index-outside": (_index("../outside/secret.txt"), "refused"),
    "index-absolute": (_index("OUTSIDE/model.safetensors"), "refused"),
    "index-garbage": (_beside("model.safetensors.index.json", "{"), "either"),
    "weights-link-outside": (_link("model.safetensors", "OUTSIDE/secret.txt"), "refused"),
    "config-link-outside": (_link("config.json", "OUTSIDE/secret.txt"), "refused"),
    "config-link-loop": (_link("config.json", "config.json"), "refused"),
    "weights-link-loop": (_link("model.safetensors", "model.safetensors"), "refused"),
    "weights-link-to-zeros": (_link("model.safetensors", "/dev/zero"), "refused"),
    "config-link-to-zeros": (_link("config.json", "/dev/zero"), "refused"),
    "config-pipe": (_pipe("config.json"), "refused"),
    "weights-pipe": (_pipe("model.safetensors"), "refused"),
}
