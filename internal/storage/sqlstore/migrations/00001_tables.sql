-- The tables that databases from before this program already have. The text is
-- PostgreSQL's; the dialect of another engine replaces the names of types.
-- Statements with {p} run once for each provider's prefix.

create table if not exists {p}keys (
    api_key text primary key,
    username text,
    status text default 'active',
    created_at timestamptz,
    expires_at timestamptz,
    failed_until timestamptz,
    disabled_until timestamptz,
    consecutive_failures int default 0
);

create table if not exists {p}key_stats (
    api_key text primary key references {p}keys (api_key) on delete cascade deferrable,
    total_requests bigint default 0,
    success_count bigint default 0,
    failure_count bigint default 0,
    success_rate numeric default 0,
    last_used timestamptz,
    last_success timestamptz,
    last_failure timestamptz,
    consecutive_failures int default 0,
    created_at timestamptz
);

create table if not exists {p}client_tokens (
    token text primary key,
    name text,
    created_at timestamptz,
    expires_at timestamptz,
    request_count bigint default 0
);

create table if not exists {p}global_stats (
    id text primary key default 'global',
    total_requests bigint default 0,
    success_count bigint default 0,
    failure_count bigint default 0,
    updated_at timestamptz
);

create table if not exists {p}model_stats (
    id bigserial primary key,
    provider text,
    model text,
    total_requests bigint default 0,
    success_count bigint default 0,
    failure_count bigint default 0,
    last_used timestamptz,
    created_at timestamptz,
    unique (provider, model)
);

create table if not exists {p}model_hourly (
    id bigserial primary key,
    provider text,
    model text,
    hour timestamptz,
    requests bigint default 0,
    success bigint default 0,
    failure bigint default 0,
    created_at timestamptz,
    unique (provider, model, hour)
);

-- Tables from elsewhere may lack some of these columns.

alter table {p}keys add column if not exists username text;
alter table {p}keys add column if not exists status text default 'active';
alter table {p}keys add column if not exists created_at timestamptz;
alter table {p}keys add column if not exists expires_at timestamptz;
alter table {p}keys add column if not exists failed_until timestamptz;
alter table {p}keys add column if not exists disabled_until timestamptz;
alter table {p}keys add column if not exists consecutive_failures int default 0;

alter table {p}key_stats add column if not exists total_requests bigint default 0;
alter table {p}key_stats add column if not exists success_count bigint default 0;
alter table {p}key_stats add column if not exists failure_count bigint default 0;
alter table {p}key_stats add column if not exists success_rate numeric default 0;
alter table {p}key_stats add column if not exists last_used timestamptz;
alter table {p}key_stats add column if not exists last_success timestamptz;
alter table {p}key_stats add column if not exists last_failure timestamptz;
alter table {p}key_stats add column if not exists consecutive_failures int default 0;
alter table {p}key_stats add column if not exists created_at timestamptz;

alter table {p}client_tokens add column if not exists name text;
alter table {p}client_tokens add column if not exists created_at timestamptz;
alter table {p}client_tokens add column if not exists expires_at timestamptz;
alter table {p}client_tokens add column if not exists request_count bigint default 0;

alter table {p}global_stats add column if not exists total_requests bigint default 0;
alter table {p}global_stats add column if not exists success_count bigint default 0;
alter table {p}global_stats add column if not exists failure_count bigint default 0;
alter table {p}global_stats add column if not exists updated_at timestamptz;

alter table {p}model_stats add column if not exists provider text;
alter table {p}model_stats add column if not exists model text;
alter table {p}model_stats add column if not exists total_requests bigint default 0;
alter table {p}model_stats add column if not exists success_count bigint default 0;
alter table {p}model_stats add column if not exists failure_count bigint default 0;
alter table {p}model_stats add column if not exists last_used timestamptz;
alter table {p}model_stats add column if not exists created_at timestamptz;

alter table {p}model_hourly add column if not exists provider text;
alter table {p}model_hourly add column if not exists model text;
alter table {p}model_hourly add column if not exists hour timestamptz;
alter table {p}model_hourly add column if not exists requests bigint default 0;
alter table {p}model_hourly add column if not exists success bigint default 0;
alter table {p}model_hourly add column if not exists failure bigint default 0;
alter table {p}model_hourly add column if not exists created_at timestamptz;
