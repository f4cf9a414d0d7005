-- Contracts: the registry of event types and their JSON Schemas.

CREATE TABLE eventbus.type_version (
    type          text        NOT NULL,
    version       integer     NOT NULL CHECK (version > 0),
    schema        jsonb       NOT NULL,
    compatibility text        NOT NULL CHECK (compatibility IN ('none', 'backward', 'forward', 'full')),
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (type, version)
);
COMMENT ON TABLE eventbus.type_version IS 'every version of every contract; the newest applies; changed through eb_register_type and eb_drop_type';
REVOKE ALL ON eventbus.type_version FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('eventbus.type_version', '');

CREATE FUNCTION @extschema@.eb_register_type(type text, schema jsonb, compatibility text DEFAULT 'backward')
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_register_type';
COMMENT ON FUNCTION @extschema@.eb_register_type(text, jsonb, text) IS
    'registers a JSON Schema (draft-07 or 2020-12) as the contract of a type or topic pattern; returns its version, the present one if the schema is unchanged';
REVOKE ALL ON FUNCTION @extschema@.eb_register_type(text, jsonb, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_drop_type(type text)
RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_drop_type';
COMMENT ON FUNCTION @extschema@.eb_drop_type(text) IS
    'removes every version of the contract of a type or topic pattern; false if there was none';
REVOKE ALL ON FUNCTION @extschema@.eb_drop_type(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_validate(type text, payload jsonb,
    OUT instance_path text, OUT schema_path text, OUT keyword text, OUT message text)
RETURNS SETOF record LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_validate';
COMMENT ON FUNCTION @extschema@.eb_validate(text, jsonb) IS
    'every violation of the contract that applies to the type; no row if the payload satisfies it';
REVOKE ALL ON FUNCTION @extschema@.eb_validate(text, jsonb) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_schema_valid(schema jsonb, document jsonb)
RETURNS boolean LANGUAGE c STRICT STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eventbus_schema_valid';
COMMENT ON FUNCTION @extschema@.eb_schema_valid(jsonb, jsonb) IS
    'does the document satisfy the JSON Schema? needs no registration';
REVOKE ALL ON FUNCTION @extschema@.eb_schema_valid(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_schema_violations(schema jsonb, document jsonb,
    OUT instance_path text, OUT schema_path text, OUT keyword text, OUT message text)
RETURNS SETOF record LANGUAGE c STRICT STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eventbus_schema_violations';
COMMENT ON FUNCTION @extschema@.eb_schema_violations(jsonb, jsonb) IS
    'every violation of a JSON Schema by a document; needs no registration';
REVOKE ALL ON FUNCTION @extschema@.eb_schema_violations(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION @extschema@.eb_schema_pattern(pattern text)
RETURNS text LANGUAGE c STRICT IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eventbus_schema_pattern';
COMMENT ON FUNCTION @extschema@.eb_schema_pattern(text) IS
    'the PostgreSQL regular expression that stands for an ECMA 262 pattern of a schema';
REVOKE ALL ON FUNCTION @extschema@.eb_schema_pattern(text) FROM PUBLIC;

CREATE VIEW @extschema@.eb_types AS
SELECT type, version, schema, compatibility, registered_at FROM eventbus.type_version;
COMMENT ON VIEW @extschema@.eb_types IS 'registered contracts, every version of each';

CREATE FUNCTION @extschema@.eb_cloudevent(event @extschema@.eb_event)
RETURNS jsonb LANGUAGE c STRICT STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'eventbus_cloudevent';
COMMENT ON FUNCTION @extschema@.eb_cloudevent(@extschema@.eb_event) IS
    'the event as a CloudEvents 1.0 object; eb_emit(jsonb) reads it back';

CREATE FUNCTION @extschema@.eb_typescript()
RETURNS text LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'eventbus_typescript';
COMMENT ON FUNCTION @extschema@.eb_typescript() IS
    'TypeScript source: a type for each registered contract and the discriminated union of all events';
REVOKE ALL ON FUNCTION @extschema@.eb_typescript() FROM PUBLIC;
