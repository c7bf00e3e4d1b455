"""What an adapter does to one stored matrix, whichever format it comes from or goes to."""

from __future__ import annotations

from dataclasses import dataclass

from droidft.models.floats import Floats


@dataclass(frozen=True, eq=False)
class Factors:
    """The update of one stored matrix (out, in): scale * b @ a is added, then each row gets its `magnitude`.

    `a` is (rank, in), `b` (out, rank), whichever way round the matrix is stored; an embedding is (tokens, width).
    """

    tensor: str
    """Name of the stored tensor in the Hugging Face checkpoint, such as `model.layers.0.self_attn.q_proj.weight`."""
    a: Floats
    b: Floats
    expert: int | None = None
    """Which matrix of a stored stack of them."""
    scale: float = 1.0
    magnitude: Floats | None = None
    """Of each row, where the adapter is a DoRA."""
    named: str = ""
    """How the program that it comes from calls what it adapts, where that is not the tensor."""
    transposed: bool = False
    """Whether the matrix is stored (in, out)."""
    embedding: bool = False
    router: bool = False

    @property
    def rank(self) -> int:
        """Of the pair; more than the adapter's where updates were stacked."""
        return int(self.a.shape[0])

    @property
    def matrix(self) -> tuple[str, int | None]:
        """The stored tensor, and which matrix of it where it is a stack."""
        return self.tensor, self.expert

    @property
    def called(self) -> str:
        """The name for messages."""
        return self.named or self.tensor
