# Types of the names that __init__.py imports when they are first used.
from baicai.api.model import Model as Model
from baicai.api.model import open as open  # noqa: A004
from baicai.api.stages import calibrate as calibrate
from baicai.api.stages import distill as distill
from baicai.api.stages import evaluate as evaluate
from baicai.api.stages import export_model as export_model
from baicai.api.stages import gather as gather
from baicai.api.stages import grow as grow
from baicai.api.stages import import_trunk as import_trunk
from baicai.api.stages import join as join
from baicai.api.stages import peel as peel
from baicai.api.stages import publish as publish
from baicai.api.stages import pull as pull
from baicai.api.stages import train_tokenizer as train_tokenizer
from baicai.api.stages import train_trunk as train_trunk
from baicai.errors import ArtefactError as ArtefactError
from baicai.errors import BaicaiError as BaicaiError
from baicai.errors import ConfigError as ConfigError
from baicai.errors import DataError as DataError
from baicai.errors import MachineError as MachineError

__version__: str
__all__: list[str]
