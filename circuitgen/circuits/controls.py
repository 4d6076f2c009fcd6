"""Random circuits: the floor that a circuit has to beat.

A circuit of 26 heads may be faithful only because late layers matter, or
because 26 is many. A random circuit of the same size and the same number of
heads in each layer answers both; its recovery is what the shape alone buys.

Source: Wang et al. 2022, section 4; Shi et al. 2024 (circuits as hypotheses
tested against random ones).
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from circuitgen.circuits.circuit import Circuit, Head, Member, check_fits

__all__ = ["random_circuit"]


def random_circuit(
    circuit: Circuit,
    n_layers: int,
    n_heads: int,
    rng: np.random.Generator,
    layer_profile: bool = True,
) -> Circuit:
    """Draw a control circuit of the same size from the model's heads.

    Heads are drawn uniformly without replacement from all heads, the circuit's
    own included, so that the draws are a fair sample of circuits of this shape.
    In each layer the draw keeps the circuit's pairs of role and positions, dealt
    out in random order: a control has as many heads at END in a layer as the
    circuit has.

    Args:
        circuit: The circuit whose shape is kept.
        n_layers: Layers of the model.
        n_heads: Heads in each layer.
        rng: Source of randomness; the same state gives the same circuit.
        layer_profile: Keep the number of heads in each layer. If not, only the
            size and the pairs of role and positions are kept.

    Raises:
        InputError: If the circuit does not fit a model of this shape.
    """
    check_fits(circuit, n_layers, n_heads)
    strata: dict[int, list[Member]] = defaultdict(list)
    for member in circuit.members:
        strata[member.head.layer if layer_profile else 0].append(member)
    drawn: list[Member] = []
    for layer, members in sorted(strata.items()):
        pool = n_heads if layer_profile else n_layers * n_heads
        first = layer * n_heads if layer_profile else 0
        for index, member in zip(
            rng.choice(pool, size=len(members), replace=False), members, strict=True
        ):
            head = Head(*divmod(first + int(index), n_heads))
            drawn.append(replace(member, head=head))
    kept = "layer profile" if layer_profile else "size"
    return Circuit(
        name=f"{circuit.name} random",
        members=tuple(drawn),
        source=f"Random heads with the {kept} of {circuit.name}",
        model=circuit.model,
    )
