-- What this program adds to those tables, and its own. Only ever additions, so
-- that other programs go on working with the same database.

alter table {p}keys add column if not exists key_id text;
alter table {p}keys add column if not exists disabled_reason text;
alter table {p}keys add column if not exists rests_until timestamptz;
alter table {p}keys add column if not exists rest_step int default 0;
alter table {p}keys add column if not exists category text;
alter table {p}keys add column if not exists last_error text;
create unique index if not exists {p}keys_key_id on {p}keys (key_id);

alter table {p}client_tokens add column if not exists preview text;
alter table {p}client_tokens add column if not exists last_used timestamptz;
alter table {p}client_tokens add column if not exists input_tokens bigint default 0;
alter table {p}client_tokens add column if not exists output_tokens bigint default 0;

alter table {p}global_stats add column if not exists input_tokens bigint default 0;
alter table {p}global_stats add column if not exists output_tokens bigint default 0;

alter table {p}model_stats add column if not exists input_tokens bigint default 0;
alter table {p}model_stats add column if not exists output_tokens bigint default 0;

alter table {p}model_hourly add column if not exists input_tokens bigint default 0;
alter table {p}model_hourly add column if not exists output_tokens bigint default 0;

create table if not exists {p}key_refusals (
    key_id text not null,
    model text not null,
    until timestamptz not null,
    primary key (key_id, model)
);

create table if not exists pool_meta (
    name text primary key,
    value text not null
);
