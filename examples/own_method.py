"""Training in this process with a loss of one's own: focal loss (Lin et al., 2017) dwells on tokens that are hard.

python examples/own_method.py model_path=smollm2-135m-instruct train_data_path=examples/orders/train.jsonl epochs=1
"""

import sys
import tempfile
from pathlib import Path

from droidft import TrainingConfig
from droidft.engine.machine.device import computing
from droidft.home import Home

GAMMA = 2.0

with computing(Home.find().cache) as device, tempfile.TemporaryDirectory() as folder:
    import mlx.core as mx  # after `computing`, which decides what MLX computes with

    from droidft.data.batches import Batch
    from droidft.engine.assemble import assembled
    from droidft.engine.methods.sft import Supervised
    from droidft.engine.model.loss import SplitModel, token_losses
    from droidft.engine.training.loop import train
    from droidft.engine.training.method import Sums

    class Focal(Supervised):
        """Supervised fine-tuning; a token that has probability p counts (1 - p)^gamma."""

        def loss(self, model: SplitModel, batch: Batch) -> tuple[mx.array, Sums]:
            """Summed over the batch, a scalar; and statistics, of which there are none."""
            losses = token_losses(model, batch)  # nats, shape (supervised tokens of the batch,)
            return ((1 - mx.exp(-losses)) ** GAMMA * losses).sum(), {}

    config = TrainingConfig.model_validate(dict(word.split("=", 1) for word in sys.argv[1:]))
    ready = assembled(config, Home.find().places(checkpoints=Path(folder)), device)
    ready.job.method = Focal(config, ready.data.train, ready.data.validation)
    for event in train(ready.job):
        print(event)
