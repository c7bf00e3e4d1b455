from droidft.api import DroidError as DroidError
from droidft.api import Experiment as Experiment
from droidft.api import Exported as Exported
from droidft.api import Model as Model
from droidft.api import RowLosses as RowLosses
from droidft.api import Run as Run
from droidft.api import Sampling as Sampling
from droidft.api import TrainingConfig as TrainingConfig
from droidft.api import experiment as experiment
from droidft.api import export as export
from droidft.api import load as load
from droidft.api import train as train

__version__: str
__all__: list[str]
