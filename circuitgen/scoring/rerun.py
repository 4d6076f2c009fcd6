"""Many interventions on the same prompts, each recomputed only where it differs.

A run whose head outputs are replaced somewhere is the run that it starts from
at every earlier layer and position. `rerun` continues from a stored run and
computes the rest: rows of interventions join at the first layer that they
change, and from there on only the positions that may differ are carried along.
Everything else a head attends to is read from the stored run, once for all
rows. A change in the last layer counts at END alone.

The stored run is the intact one, or the empty one in which every head is
ablated. From the intact run all positions after the first change may differ;
from the empty run only those at which some head was kept, because ablated
heads do not look.

Not differentiable: tensors are overwritten to spare memory.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy, Attention
from circuitgen.scoring.forward import (
    Trace,
    finish_layer,
    project_keys_values,
    project_queries,
    visible,
)

__all__ = ["TRACED", "attend", "carry_on", "enter", "places_carried", "rerun"]

TRACED = ("resid", "key", "value", "z")
"""What the trace of an intact run must keep; of an empty one, ``resid``."""

Values = Callable[[int], Float[Tensor, "prompt pos head d_head"]]


def rerun(
    anatomy: Anatomy,
    base: Trace,
    mask: Bool[Tensor, "row layer pos head"],
    values: Values,
    *,
    from_empty: bool,
) -> Float[Tensor, "prompt row d_model"]:
    """Residual stream at END after the last layer, for every prompt and row.

    Args:
        base: The run to start from, of the same prompts.
        mask: Where head outputs are replaced; one row an intervention, the
            same for all prompts.
        values: Replacement outputs of one layer.
        from_empty: Whether `base` has every head replaced, by the same values.
    """
    start = _from_empty if from_empty else _from_intact
    return start(anatomy, base, mask, values)


def places_carried(mask: Bool[Tensor, "row layer pos head"], *, from_empty: bool) -> int:
    """Number of positions that `rerun` computes for one row and prompt, at most."""
    changed = _changes(~mask if from_empty else mask).any(0).any(0)
    if not changed.any():
        return 0
    return int(changed.sum()) if from_empty else len(changed) - int(changed.nonzero()[0])


def enter(
    anatomy: Anatomy,
    base: Trace,
    index: int,
    z: Float[Tensor, "prompt row place head d_head"],
    changed: Int[Tensor, " place"],
    places: Int[Tensor, " carried"],
) -> Float[Tensor, "prompt row after d_model"]:
    """Start rows at a layer whose head outputs are z at some positions, else the base's.

    Returns:
        The residual stream before the next layer at the positions `places`,
        which include the changed ones; after the last layer at END alone.
    """
    layer = anatomy.layers[index]
    if index == anatomy.n_layers - 1:
        # The changed positions include END, or there is nothing to start.
        return finish_layer(layer, base.resid[index][:, None, -1:], z[:, :, -1:])
    x = finish_layer(layer, base.resid[index][:, None, changed], z)
    if len(changed) == len(places):
        return x
    rows = base.resid[index + 1][:, None, places].repeat(1, x.shape[1], 1, 1)
    rows[:, :, torch.searchsorted(places, changed)] = x
    return rows


def carry_on(
    anatomy: Anatomy,
    base: Trace,
    index: int,
    x: Float[Tensor, "prompt row place d_model"],
    places: Int[Tensor, " place"],
    mask: Bool[Tensor, "row place head"] | None = None,
    values: Values | None = None,
) -> Float[Tensor, "prompt row after d_model"]:
    """Take rows that differ from the intact run through one layer.

    Args:
        places: Positions that the rows carry, from the first that differs to END.
        mask: Where the layer's head outputs are replaced, by `values`.
    """
    first = base.resid[index].shape[1] - len(places)
    old = None
    if first:
        old = base.key[index][:, :, :first], base.value[index][:, :, :first]
    old_places = torch.arange(first, device=x.device)
    return _carry(anatomy, base, index, x, places, old_places, old, mask, values)


def attend(
    attention: Attention,
    query: Float[Tensor, "prompt row query head d_head"],
    key: Float[Tensor, "prompt row place kv d_head"],
    value: Float[Tensor, "prompt row place kv d_head"],
    old: tuple[Float[Tensor, "prompt kv old d_head"], Float[Tensor, "prompt kv old d_head"]] | None,
    seen: Bool[Tensor, "query old_and_place"] | None,
) -> Float[Tensor, "prompt row query head d_head"]:
    """Head outputs where each row has keys of its own, and all rows of a prompt share the old ones.

    Rows are folded into the queries of the old keys, so that these are never copied.

    Args:
        seen: Which keys each query sees, the old ones first; None for all.
    """
    n, rows, n_query, heads, d_head = query.shape
    kv, n_own = key.shape[3], key.shape[2]
    per_kv = heads // kv
    # prompt, kv, row, head of the group, query
    query = query.unflatten(3, (kv, per_kv)).permute(0, 3, 1, 4, 2, 5)
    folded = query.reshape(n * kv * rows, per_kv * n_query, d_head)
    own_key, own_value = (
        part.permute(0, 3, 1, 2, 4).reshape(n * kv * rows, n_own, d_head) for part in (key, value)
    )
    scores = (folded @ own_key.transpose(1, 2)).view(n * kv, -1, n_own)
    if old is not None:
        old_key, old_value = (part.reshape(n * kv, -1, d_head) for part in old)
        by_prompt = folded.view(n * kv, -1, d_head)
        scores = torch.cat((by_prompt @ old_key.transpose(1, 2), scores), -1)
    scores = scores.float().mul_(attention.scaling)
    if seen is not None:
        scores.view(-1, *seen.shape).masked_fill_(~seen, float("-inf"))
    pattern = scores.softmax(-1).to(value.dtype)
    own_pattern = pattern[..., pattern.shape[-1] - n_own :]
    z = own_pattern.reshape(n * kv * rows, -1, n_own) @ own_value
    if old is not None:
        z.view(n * kv, -1, d_head).baddbmm_(pattern[..., :-n_own], old_value)
    z = z.view(n, kv, rows, per_kv, n_query, d_head).permute(0, 2, 4, 1, 3, 5)
    return z.reshape(n, rows, n_query, heads, d_head)


def _from_intact(anatomy: Anatomy, base: Trace, mask: Tensor, values: Values) -> Tensor:
    changes = _changes(mask)
    ends = base.end[:, None].repeat(1, len(mask), 1)
    begins = [int(row.any(1).nonzero()[0]) if row.any() else None for row in changes]
    order = sorted((begin, row) for row, begin in enumerate(begins) if begin is not None)
    if not order:
        return ends
    first_pos = int(changes.any(0).any(0).nonzero()[0])
    places = torch.arange(first_pos, mask.shape[2], device=mask.device)
    active: list[int] = []
    x: Tensor | None = None
    for index in range(order[0][0], anatomy.n_layers):
        if x is not None:
            chosen = mask[active, index][:, places]
            x = carry_on(anatomy, base, index, x, places, chosen, values)
        joining = [row for begin, row in order if begin == index]
        if joining:
            active += joining
            changed = changes[joining, index].any(0).nonzero()[:, 0]
            replaced = mask[joining, index][:, changed]
            z = torch.where(
                replaced[None, ..., None],
                values(index)[:, None, changed],
                base.z[index][:, None, changed],
            )
            new = enter(anatomy, base, index, z, changed, places)
            x = new if x is None else torch.cat((x, new), 1)
    assert x is not None
    ends[:, active] = x[:, :, -1]
    return ends


def _from_empty(anatomy: Anatomy, base: Trace, mask: Tensor, values: Values) -> Tensor:
    kept = _changes(~mask).any(0)
    ends = base.end[:, None].repeat(1, len(mask), 1)
    reached = kept.cumsum(0) > 0
    if not reached[-1, -1]:
        return ends  # END never differs, whatever the other positions do
    everywhere = torch.arange(mask.shape[2], device=mask.device)
    places, x = everywhere[:0], ends[:, :, None][:, :, :0]
    for index in range(int(kept.any(1).nonzero()[0]), anatomy.n_layers):
        now = everywhere[reached[index]]
        if len(now) > len(places):
            grown = base.resid[index][:, None, now].repeat(1, len(mask), 1, 1)
            grown[:, :, torch.searchsorted(now, places)] = x
            places, x = now, grown
        old_places = everywhere[~reached[index] & (everywhere < now[-1])]
        old = None
        if len(old_places) and kept[index].any():
            layer = anatomy.layers[index]
            resid = base.resid[index][:, old_places]
            normed = resid if layer.attention_norm is None else layer.attention_norm(resid)
            parts = project_keys_values(layer.attention, normed, old_places, mask.shape[2])
            old = parts[0].transpose(1, 2), parts[1].transpose(1, 2)
        chosen = mask[:, index][:, places]
        x = _carry(anatomy, base, index, x, places, old_places, old, chosen, values)
    return x[:, :, -1]


def _changes(differs: Bool[Tensor, "row layer pos head"]) -> Bool[Tensor, "row layer pos"]:
    """Where a row differs from its base in a way that can reach END."""
    changes = differs.any(-1)
    changes[:, -1, :-1] = False
    return changes


def _carry(
    anatomy: Anatomy,
    base: Trace,
    index: int,
    x: Tensor,
    places: Tensor,
    old_places: Tensor,
    old: tuple[Tensor, Tensor] | None,
    mask: Tensor | None,
    values: Values | None,
) -> Tensor:
    layer, last = anatomy.layers[index], index == anatomy.n_layers - 1
    asked = places[-1:] if last else places
    if mask is not None and last:
        mask = mask[:, -1:]
    if mask is not None and not mask.any():
        mask = None
    if mask is not None and mask.all():
        assert values is not None
        z = values(index)[:, None, asked]
        return finish_layer(layer, x[:, :, -len(asked) :], z)
    n_pos = base.resid[0].shape[1]
    normed = x if layer.attention_norm is None else layer.attention_norm(x)
    key, value = project_keys_values(layer.attention, normed, places, n_pos)
    live = None if mask is None else (~mask).any(0).any(0)
    heads = None if live is None or live.all() else live.nonzero()[:, 0]
    query = project_queries(layer.attention, normed[:, :, -len(asked) :], asked, n_pos, heads)
    if heads is not None:
        group = heads // (layer.attention.n_heads // layer.attention.n_key_value_heads)
        key, value = key[..., group, :], value[..., group, :]
        old = None if old is None else (old[0][:, group], old[1][:, group])
    if old is None:
        old_places = old_places[:0]
    seen = visible(asked, torch.cat((old_places, places)), layer.attention.window)
    z = attend(layer.attention, query, key, value, old, None if seen.all() else seen)
    if mask is not None:
        assert values is not None
        replaced = values(index)[:, None, asked]
        if heads is None:
            z = torch.where(mask[None, ..., None], replaced, z)
        else:
            z = torch.where(mask[None, :, :, heads, None], replaced[..., heads, :], z)
            z = replaced.expand(-1, x.shape[1], -1, -1, -1).index_copy(3, heads, z)
    return finish_layer(layer, x[:, :, -len(asked) :], z)
