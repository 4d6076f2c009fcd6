"""Small random models in Hugging Face layout: one per attention layout that the paper meets.

GPT-2 (every head its own keys and values), Llama (grouped queries) and Gemma 3
(one key-value head, sliding window, its own normalisation). They know nothing;
they are there so that an answer can be compared with a slower way to the same
answer. Seeded, a few hundred kilobytes each, with the word tokenizer beside them.
"""

from pathlib import Path

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from circuitgen.models.quiet import quiet_libraries
from circuitgen.models.words import load_word_tokenizer

__all__ = ["make_gemma_dir", "make_gpt2_dir", "make_llama_dir"]

N_LAYERS = 3
N_HEADS = 4
D_MODEL = 32
N_CTX = 64
# Times the library's initial 0.02: attention is then clearly not uniform, logits not huge.
SCALE = 12.0


def make_gpt2_dir(
    path: Path,
    seed: int = 0,
    *,
    n_layers: int = N_LAYERS,
    n_heads: int = N_HEADS,
    d_model: int = D_MODEL,
) -> Path:
    """Save a random GPT-2 in `path`, and return the path."""
    tokenizer = load_word_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=N_CTX,
        n_embd=d_model,
        n_layer=n_layers,
        n_head=n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _save(GPT2LMHeadModel(config), tokenizer, path)


def make_llama_dir(path: Path, seed: int = 0) -> Path:
    """Save a random Llama of 3 layers, 4 heads and 2 key-value heads in `path`."""
    tokenizer = load_word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=N_CTX,
        hidden_size=D_MODEL,
        intermediate_size=2 * D_MODEL,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _save(LlamaForCausalLM(config), tokenizer, path)


def make_gemma_dir(path: Path, sliding_window: int = 8, seed: int = 0) -> Path:
    """Save a random Gemma 3 of 4 layers, 4 heads and 1 key-value head in `path`.

    Layer 1 attends to the whole prompt, the others to `sliding_window` tokens.
    """
    tokenizer = load_word_tokenizer()
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=N_CTX,
        hidden_size=D_MODEL,
        intermediate_size=2 * D_MODEL,
        num_hidden_layers=N_LAYERS + 1,
        num_attention_heads=N_HEADS,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=sliding_window,
        layer_types=[
            "sliding_attention",
            "full_attention",
            "sliding_attention",
            "sliding_attention",
        ],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _save(Gemma3ForCausalLM(config), tokenizer, path)


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, path: Path) -> Path:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(SCALE)
            else:
                # Biases and norms too, so that a forgotten one changes the answer.
                parameter.add_(0.1 * torch.randn_like(parameter))
    with quiet_libraries():
        model.save_pretrained(str(path))
        tokenizer.save_pretrained(str(path))
    return path
