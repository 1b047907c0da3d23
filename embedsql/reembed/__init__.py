"""Another model (or another declaration) for an index, made beside the one that serves.

The steps, each recorded in the registry and each safe to repeat, so that a change that was cut
off anywhere goes on where it stood::

    building   tables and triggers are there; a worker backfills, and follows live changes
    ready      the vector index is built, and the generation was compared with the one that serves
    switching  it catches up to the last row
    serving    one short transaction re-points the views; the generation before is 'retired', still
               fed, so that a rollback is as quick and as fresh
    dropping   a generation that is no longer wanted: it is not fed any more
"""

from __future__ import annotations

from embedsql.reembed.change import ModelChange
from embedsql.reembed.compare import Comparison
from embedsql.reembed.generations import Generations

__all__ = ["Comparison", "Generations", "ModelChange"]
