-- Statistics by minute, hour, day and ever; the request log; what happened to
-- keys; jobs; sessions of the pages. See tallies.go, requestlog.go, events.go,
-- jobs.go, sessions.go.

alter table {p}client_tokens add column if not exists limits text;

create index if not exists {p}keys_created_at on {p}keys (created_at);
create index if not exists {p}keys_username on {p}keys (username);
create index if not exists {p}keys_category on {p}keys (category);
create index if not exists {p}keys_rests on {p}keys (rests_until) where rests_until is not null;
create index if not exists {p}keys_failed on {p}keys (failed_until) where failed_until is not null;
create index if not exists {p}keys_disabled on {p}keys (disabled_reason) where disabled_reason <> '';
create index if not exists {p}keys_expires on {p}keys (expires_at) where expires_at is not null;

create table if not exists {p}key_hourly (
    key_id text not null,
    hour bigint not null,
    total bigint not null,
    success bigint not null,
    failure bigint not null,
    primary key (key_id, hour)
);
create index if not exists {p}key_hourly_hour on {p}key_hourly (hour);

create table if not exists {p}key_events (
    id bigserial primary key,
    key_id text not null,
    happened_at timestamptz not null,
    what text not null,
    detail text not null,
    until timestamptz,
    request_id text not null,
    attempt int not null,
    model text not null
);
create index if not exists {p}key_events_key on {p}key_events (key_id, id);
create index if not exists {p}key_events_at on {p}key_events (happened_at);

create table if not exists pool_requests (
    id bigserial primary key,
    request_id text not null,
    provider text not null,
    model text not null,
    token_hash text not null,
    status int not null,
    failed int not null,
    attempts int not null,
    started_at timestamptz not null,
    duration_us bigint not null,
    keys text not null,
    size bigint not null,
    entry text not null
);
create index if not exists pool_requests_request on pool_requests (request_id);
create index if not exists pool_requests_started on pool_requests (started_at);
create index if not exists pool_requests_failed on pool_requests (id) where failed = 1;

create table if not exists pool_jobs (
    id text primary key,
    kind text not null,
    provider text not null,
    state text not null,
    started_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz,
    job text not null
);
create index if not exists pool_jobs_started on pool_jobs (started_at);

create table if not exists pool_sessions (
    hash text primary key,
    csrf text not null,
    created_at timestamptz not null,
    expires_at timestamptz not null
);
