"""Recipe of `baicai serve`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from baicai.config import Count, recipe


@recipe
class ServeRecipe:
    """`baicai serve`: serve a model over HTTP with OpenAI's API."""

    RENAMED: ClassVar[dict[str, str]] = {
        "hosts": "allowed_hosts",
        "texts": "max_sequences",
        "memory_tokens": "kv_cache_tokens",
        "queue": "max_waiting",
        "max_choices": "max_completions_per_request",
        "patience_seconds": "timeout_seconds",
        "runs": "runs_dir",
        "catalog": "catalog_url",
    }

    model: str
    """Path or hash of a model, its lock file or a trunk."""
    name: str = ""
    """Name of the model in requests; default: the name of its folder."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but a loopback address requires an API key."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 picks a free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names under which clients may reach this server; if set, requests for other names are rejected."""
    max_models: Count = 4
    """Maximum number of loaded models, including those still draining. Replacing a model temporarily uses one more."""
    weights: Literal["stored", "int8"] = "stored"
    """Weight format in memory; int8 is about twice as fast as bfloat16, and nearly as accurate."""
    max_sequences: Count = 16
    """Maximum number of sequences that each engine decodes at once."""
    kv_cache_tokens: Annotated[int, Field(ge=0)] = 0
    """Size of each engine's KV cache in tokens, shared by its sequences; 0 fits `max_sequences` of maximum length."""
    max_waiting: Count = 256
    """Maximum number of sequences that wait for a place in each engine; further requests get status 429."""
    max_completions_per_request: Count = 128
    """Maximum number of completions per request: prompts times `n`."""
    max_body_bytes: Count = 4 * 2**20
    """Maximum size of a request body in bytes."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 30
    """Time that a client may take to send a request, or to accept the next chunk of a response."""
    runs_dir: str = "out"
    """Folder to search for runs to show; empty: show none."""
    catalog_url: str = ""
    """URL of a release catalog made by `baicai data catalog`; empty: show none."""
