"""Between the configurations that Airbyte's clients send and those that our connectors take.

Field names are mostly the same. What Airbyte has besides is left out where that changes nothing of the result, turned
into our field where there is one, and otherwise left in, so that the connector refuses it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from syncline.sdk.low_code import check_against
from syncline.service.definitions import Definition, connector_of
from syncline.service.errors import invalid
from syncline.service.secrets.masking import field_names

__all__ = ["canonical", "completed", "connector_config", "deletions", "type_key"]

_Config = dict[str, Any]

#: Settings of Parquet's encoder in destination-s3: how, not what, is written.
_PARQUET = ("block_size_mb", "max_padding_size_mb", "page_size_kb", "dictionary_page_size_kb", "dictionary_encoding")
#: How a stream of source-s3 treats records that do not fit; ours are set aside in the quarantine.
_STREAM = ("validation_policy", "days_to_sync_if_history_is_full", "recent_n_files_to_read_for_schema_discovery")
_FORMAT = ("inference_type", "strings_can_be_null", "true_values", "false_values", "decimal_as_float")


def type_key(role: str) -> str:
    """The key that names the connector within a configuration: ``sourceType`` or ``destinationType``."""
    return f"{role}Type"


def canonical(definition: Definition, configuration: Mapping[str, Any]) -> _Config:
    """The configuration under Airbyte's own field names where a friendlier one was used: clients that parse answers
    know no others. Only for connectors whose field names are Airbyte's; values stay as they are."""
    found = {key: value for key, value in configuration.items() if key != type_key(definition.role)}
    if not definition.airbyte or definition.type_name != definition.connector:
        return found
    names = field_names(connector_of(definition).config_model())
    # When both were sent, both stay: the connector refuses one of them by name.
    return {key if (name := names.get(key, key)) in found else name: value for key, value in found.items()}


def completed(definition: Definition, configuration: Mapping[str, Any]) -> _Config:
    """A stored configuration as answers show it. A destination's always names its type, and has what a client's model
    of that type requires; a source's only when it is Airbyte's and complete, because a client that finds a type and not
    its fields refuses the whole list."""
    role, name = definition.role, definition.type_name
    found = {**_DEFAULTS.get((role, name), {}), **configuration}
    for key, kind in _SHORT.items():
        if definition.airbyte and isinstance(found.get(key), str) and name in _HAVE_SHORT:
            found[key] = {kind: found[key]}
    if role == "destination" or (definition.airbyte and _is_complete(name, found)):
        found[type_key(role)] = name
    return found


def _is_complete(name: str, found: Mapping[str, Any]) -> bool:
    """Whether a source's configuration has all that the clients' model of its type requires."""
    if not all(found.get(key) for key in _REQUIRED.get(name, ())):
        return False
    for key, kind in _SHORT.items():
        form = found.get(key)
        needs = _FORMS.get((name, key, form.get(kind)), ()) if isinstance(form, Mapping) else ()
        if isinstance(form, Mapping) and not all(form.get(need) for need in needs):
            return False
    return True


#: What the clients' models require of a source that names its type.
_REQUIRED = {
    "hubspot": ("credentials",),
    "mysql": ("host", "port", "database", "username", "replication_method"),
    "postgres": ("host", "database", "username"),
    "s3": ("bucket", "streams"),
    "stripe": ("account_id", "client_secret"),
}
#: Objects that our databases' connectors also take as one word, and the key of the word: a client that finds a text
#: there refuses the whole list.
_SHORT = {"replication_method": "method", "ssl_mode": "mode", "tunnel_method": "tunnel_method"}
_HAVE_SHORT = ("mysql", "postgres")
#: What the models require of such an object, by its word.
_FORMS: dict[tuple[str, str, Any], tuple[str, ...]] = {
    ("postgres", "replication_method", "CDC"): ("publication", "replication_slot"),
    ("postgres", "ssl_mode", "verify-ca"): ("ca_certificate",),
    ("postgres", "ssl_mode", "verify-full"): ("ca_certificate",),
    ("mysql", "ssl_mode", "verify_ca"): ("ca_certificate",),
    ("mysql", "ssl_mode", "verify_identity"): ("ca_certificate",),
}
#: What the clients' models require and ours take for granted.
_DEFAULTS: dict[tuple[str, str], _Config] = {
    ("source", "mysql"): {"port": 3306},
    ("source", "postgres"): {"port": 5432},
    ("destination", "postgres"): {"port": 5432, "schema": "public"},
    ("destination", "s3"): {"s3_bucket_path": "", "s3_bucket_region": "", "format": {"format_type": "Parquet"}},
}


def connector_config(definition: Definition, configuration: Mapping[str, Any]) -> _Config:
    """What our connector takes. Raises ``config`` for what cannot be said in its words."""
    role = definition.role
    found = _without_nulls({k: v for k, v in configuration.items() if k != type_key(role)})
    if definition.manifest is not None:
        check_against(definition.manifest, found)
        return {"manifest": definition.manifest, "config": found}
    change = _TRANSLATIONS.get((role, definition.type_name))
    return change(found) if change is not None else found


def deletions(definition: Definition, configuration: Mapping[str, Any]) -> str | None:
    """``hard`` or ``soft``, where a destination's configuration says what a deletion in the source's log does."""
    said = str(configuration.get("cdc_deletion_mode") or "").lower()
    return "soft" if said.startswith("soft") else "hard" if said.startswith("hard") else None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _without(value: _Config, *keys: str) -> _Config:
    return {key: each for key, each in value.items() if key not in keys}


def _source_postgres(config: _Config) -> _Config:
    # Limits of Airbyte's reader; ours has its own (concurrency, max_transaction_age).
    config = _without(config, "checkpoint_target_interval_seconds", "max_db_connections", "check_privileges")
    if not config.get("entra_service_principal_auth"):
        config = _without(config, "entra_service_principal_auth", "entra_tenant_id", "entra_client_id")
    return _ssl(config)


def _ssl(config: _Config) -> _Config:
    """``ssl`` is what ``ssl_mode`` was before it."""
    if config.get("ssl") is True and "ssl_mode" not in config:
        return _without(config, "ssl") | {"ssl_mode": "require"}
    return _without(config, "ssl")


def _destination_postgres(config: _Config) -> _Config:
    return _ssl(_without(config, "cdc_deletion_mode"))


def _destination_s3(config: _Config) -> _Config:
    written = config.get("format")
    if isinstance(written, Mapping):
        # Rows are always written as columns here; "flattening" chooses that in Airbyte.
        config = config | {"format": _without(dict(written), "flattening", *_PARQUET)}
    return config


def _local(format_type: str) -> Callable[[_Config], _Config]:
    def change(config: _Config) -> _Config:
        found = _without(config, "delimiter_type")
        return {"format": {"format_type": format_type, "compression_codec": "UNCOMPRESSED"}, **found}

    return change


def _source_s3(config: _Config) -> _Config:
    delivery = config.get("delivery_method")
    if isinstance(delivery, Mapping) and delivery.get("delivery_type") == "use_records_transfer":
        config = _without(config, "delivery_method")
    streams = config.get("streams")
    if isinstance(streams, list):
        config = config | {"streams": [_file_stream(s) if isinstance(s, Mapping) else s for s in streams]}
    return config


def _file_stream(stream: Mapping[str, Any]) -> _Config:
    found = _without(dict(stream), *_STREAM)
    for key in ("schemaless", "legacy_prefix", "input_schema", "primary_key"):
        if not found.get(key):
            found.pop(key, None)
    if found.get("schemaless"):
        raise invalid("configuration.streams", "schemaless streams are not supported", hint="set schemaless to false")
    written = found.get("format")
    if isinstance(written, Mapping):
        found["format"] = _file_format(dict(written))
    return found


def _file_format(written: _Config) -> _Config:
    found = _without(written, *_FORMAT)
    header = found.pop("header_definition", None)
    kind = header.get("header_definition_type") if isinstance(header, Mapping) else None
    if kind == "Autogenerated":
        found["header"] = False
    elif kind == "User Provided" and isinstance(header, Mapping):
        found |= {"header": False, "column_names": header.get("column_names", [])}
    for key in ("skip_rows_after_header", "ignore_errors_on_fields_mismatch"):
        if not found.get(key):
            found.pop(key, None)
    return found


_TRANSLATIONS: dict[tuple[str, str], Callable[[_Config], _Config]] = {
    ("source", "postgres"): _source_postgres,
    ("source", "s3"): _source_s3,
    ("destination", "postgres"): _destination_postgres,
    ("destination", "s3"): _destination_s3,
    ("destination", "local-json"): _local("JSONL"),
    ("destination", "csv"): _local("CSV"),
}
