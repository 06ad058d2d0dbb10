"""What `baicai serve` is told."""

from typing import Annotated, Literal

from pydantic import Field

from baicai.config import Count, recipe


@recipe
class ServeRecipe:
    """`baicai serve`: a model over HTTP, as OpenAI's API."""

    model: str
    """A model, its lock file or a trunk: path or hash."""
    name: str = ""
    """How requests name it; default: its folder's name."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 takes a free one."""
    hosts: tuple[str, ...] = ()
    """Names under which others reach this server; where given, requests for other names are refused."""
    max_models: Count = 4
    """Models at once, those that finish their last answers included; while one takes another's place, one more."""
    weights: Literal["stored", "int8"] = "stored"
    """Int8 is about twice as fast as bfloat16, and close to it."""
    texts: Count = 16
    """Texts that are answered at once."""
    memory_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens for which there is room, of all texts together; 0: each may be as long as the model takes."""
    queue: Count = 256
    """Texts that may wait beside those."""
    max_choices: Count = 128
    """Answers that a request may ask for: prompts times n."""
    max_body_bytes: Count = 4 * 2**20
    """Of a request."""
    patience_seconds: Annotated[float, Field(gt=0)] = 30
    """How long a client may take to send a request, or to take a piece of an answer."""
    runs: str = "out"
    """Folder under which runs are looked for; empty: none are shown."""
    catalog: str = ""
    """URL of a database that lists releases, as of `baicai data catalog`; empty: none is shown."""
