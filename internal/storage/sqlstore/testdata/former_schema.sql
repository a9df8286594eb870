-- Tables as the system before this program made them on PostgreSQL: types that
-- differ from ours, a foreign key that cannot be deferred, none for one provider,
-- columns that are missing, and one that another program has added.

create table ollama_api_keys (
    api_key varchar(600) primary key,
    username varchar(255),
    status varchar(20) not null default 'active',
    created_at timestamp without time zone default now(),
    expires_at timestamp without time zone,
    failed_until timestamp without time zone,
    disabled_until timestamp with time zone,
    consecutive_failures integer not null default 0,
    note text
);

create table ollama_api_key_stats (
    api_key varchar(600) primary key references ollama_api_keys (api_key) on delete cascade,
    total_requests integer default 0,
    success_count numeric default 0,
    failure_count bigint,
    success_rate double precision default 0,
    last_used timestamp without time zone,
    last_success timestamp with time zone,
    consecutive_failures smallint default 0
);

create table ollama_api_client_tokens (
    token text primary key,
    name varchar(100),
    created_at timestamp without time zone not null default now(),
    expires_at timestamp without time zone,
    request_count integer default 0
);

create table ollama_api_global_stats (
    id varchar(20) primary key default 'global',
    total_requests integer default 0,
    success_count integer default 0,
    failure_count integer default 0,
    updated_at timestamp without time zone default now()
);

create table ollama_api_model_stats (
    id serial primary key,
    provider varchar(50) not null,
    model varchar(255) not null,
    total_requests numeric default 0,
    success_count numeric default 0,
    failure_count numeric default 0,
    unique (provider, model)
);

create table ollama_api_model_hourly (
    id serial primary key,
    provider varchar(50) not null,
    model varchar(255) not null,
    hour timestamp without time zone not null,
    requests integer default 0,
    success integer default 0,
    failure integer default 0,
    unique (provider, model, hour)
);

create table openrouter_api_keys (
    api_key text primary key,
    username text,
    status text default 'active',
    created_at timestamptz default now(),
    expires_at timestamptz,
    failed_until timestamptz,
    disabled_until timestamptz,
    consecutive_failures int default 0,
    note text
);

create table openrouter_api_key_stats (
    api_key text primary key,
    total_requests bigint default 0,
    success_count bigint default 0,
    failure_count bigint default 0,
    success_rate numeric default 0,
    last_used timestamptz
);

create table openrouter_api_client_tokens (
    token text primary key,
    name text,
    created_at timestamptz default now(),
    expires_at timestamptz
);
