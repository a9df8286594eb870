-- What requests add up to, by minute, hour, day and ever, see tallies.go. The
-- columns d00 to d23 count durations, f00 to f23 times to the first byte: one
-- for each bucket of gateway.Histogram. The primary key serves every query, and
-- deleting what is old, since the subjects are few and known.

create table if not exists {p}tally_minute (
    subject text not null,
    name text not null,
    period timestamptz not null,
    requests bigint not null default 0,
    success bigint not null default 0,
    failure bigint not null default 0,
    attempts bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost bigint not null default 0,
    d00 bigint not null default 0, d01 bigint not null default 0, d02 bigint not null default 0, d03 bigint not null default 0,
    d04 bigint not null default 0, d05 bigint not null default 0, d06 bigint not null default 0, d07 bigint not null default 0,
    d08 bigint not null default 0, d09 bigint not null default 0, d10 bigint not null default 0, d11 bigint not null default 0,
    d12 bigint not null default 0, d13 bigint not null default 0, d14 bigint not null default 0, d15 bigint not null default 0,
    d16 bigint not null default 0, d17 bigint not null default 0, d18 bigint not null default 0, d19 bigint not null default 0,
    d20 bigint not null default 0, d21 bigint not null default 0, d22 bigint not null default 0, d23 bigint not null default 0,
    f00 bigint not null default 0, f01 bigint not null default 0, f02 bigint not null default 0, f03 bigint not null default 0,
    f04 bigint not null default 0, f05 bigint not null default 0, f06 bigint not null default 0, f07 bigint not null default 0,
    f08 bigint not null default 0, f09 bigint not null default 0, f10 bigint not null default 0, f11 bigint not null default 0,
    f12 bigint not null default 0, f13 bigint not null default 0, f14 bigint not null default 0, f15 bigint not null default 0,
    f16 bigint not null default 0, f17 bigint not null default 0, f18 bigint not null default 0, f19 bigint not null default 0,
    f20 bigint not null default 0, f21 bigint not null default 0, f22 bigint not null default 0, f23 bigint not null default 0,
    primary key (subject, period, name)
);

create table if not exists {p}tally_hour (
    subject text not null,
    name text not null,
    period timestamptz not null,
    requests bigint not null default 0,
    success bigint not null default 0,
    failure bigint not null default 0,
    attempts bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost bigint not null default 0,
    d00 bigint not null default 0, d01 bigint not null default 0, d02 bigint not null default 0, d03 bigint not null default 0,
    d04 bigint not null default 0, d05 bigint not null default 0, d06 bigint not null default 0, d07 bigint not null default 0,
    d08 bigint not null default 0, d09 bigint not null default 0, d10 bigint not null default 0, d11 bigint not null default 0,
    d12 bigint not null default 0, d13 bigint not null default 0, d14 bigint not null default 0, d15 bigint not null default 0,
    d16 bigint not null default 0, d17 bigint not null default 0, d18 bigint not null default 0, d19 bigint not null default 0,
    d20 bigint not null default 0, d21 bigint not null default 0, d22 bigint not null default 0, d23 bigint not null default 0,
    f00 bigint not null default 0, f01 bigint not null default 0, f02 bigint not null default 0, f03 bigint not null default 0,
    f04 bigint not null default 0, f05 bigint not null default 0, f06 bigint not null default 0, f07 bigint not null default 0,
    f08 bigint not null default 0, f09 bigint not null default 0, f10 bigint not null default 0, f11 bigint not null default 0,
    f12 bigint not null default 0, f13 bigint not null default 0, f14 bigint not null default 0, f15 bigint not null default 0,
    f16 bigint not null default 0, f17 bigint not null default 0, f18 bigint not null default 0, f19 bigint not null default 0,
    f20 bigint not null default 0, f21 bigint not null default 0, f22 bigint not null default 0, f23 bigint not null default 0,
    primary key (subject, period, name)
);

create table if not exists {p}tally_day (
    subject text not null,
    name text not null,
    period timestamptz not null,
    requests bigint not null default 0,
    success bigint not null default 0,
    failure bigint not null default 0,
    attempts bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost bigint not null default 0,
    d00 bigint not null default 0, d01 bigint not null default 0, d02 bigint not null default 0, d03 bigint not null default 0,
    d04 bigint not null default 0, d05 bigint not null default 0, d06 bigint not null default 0, d07 bigint not null default 0,
    d08 bigint not null default 0, d09 bigint not null default 0, d10 bigint not null default 0, d11 bigint not null default 0,
    d12 bigint not null default 0, d13 bigint not null default 0, d14 bigint not null default 0, d15 bigint not null default 0,
    d16 bigint not null default 0, d17 bigint not null default 0, d18 bigint not null default 0, d19 bigint not null default 0,
    d20 bigint not null default 0, d21 bigint not null default 0, d22 bigint not null default 0, d23 bigint not null default 0,
    f00 bigint not null default 0, f01 bigint not null default 0, f02 bigint not null default 0, f03 bigint not null default 0,
    f04 bigint not null default 0, f05 bigint not null default 0, f06 bigint not null default 0, f07 bigint not null default 0,
    f08 bigint not null default 0, f09 bigint not null default 0, f10 bigint not null default 0, f11 bigint not null default 0,
    f12 bigint not null default 0, f13 bigint not null default 0, f14 bigint not null default 0, f15 bigint not null default 0,
    f16 bigint not null default 0, f17 bigint not null default 0, f18 bigint not null default 0, f19 bigint not null default 0,
    f20 bigint not null default 0, f21 bigint not null default 0, f22 bigint not null default 0, f23 bigint not null default 0,
    primary key (subject, period, name)
);

create table if not exists {p}tally_ever (
    subject text not null,
    name text not null,
    last_used timestamptz,
    requests bigint not null default 0,
    success bigint not null default 0,
    failure bigint not null default 0,
    attempts bigint not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cost bigint not null default 0,
    d00 bigint not null default 0, d01 bigint not null default 0, d02 bigint not null default 0, d03 bigint not null default 0,
    d04 bigint not null default 0, d05 bigint not null default 0, d06 bigint not null default 0, d07 bigint not null default 0,
    d08 bigint not null default 0, d09 bigint not null default 0, d10 bigint not null default 0, d11 bigint not null default 0,
    d12 bigint not null default 0, d13 bigint not null default 0, d14 bigint not null default 0, d15 bigint not null default 0,
    d16 bigint not null default 0, d17 bigint not null default 0, d18 bigint not null default 0, d19 bigint not null default 0,
    d20 bigint not null default 0, d21 bigint not null default 0, d22 bigint not null default 0, d23 bigint not null default 0,
    f00 bigint not null default 0, f01 bigint not null default 0, f02 bigint not null default 0, f03 bigint not null default 0,
    f04 bigint not null default 0, f05 bigint not null default 0, f06 bigint not null default 0, f07 bigint not null default 0,
    f08 bigint not null default 0, f09 bigint not null default 0, f10 bigint not null default 0, f11 bigint not null default 0,
    f12 bigint not null default 0, f13 bigint not null default 0, f14 bigint not null default 0, f15 bigint not null default 0,
    f16 bigint not null default 0, f17 bigint not null default 0, f18 bigint not null default 0, f19 bigint not null default 0,
    f20 bigint not null default 0, f21 bigint not null default 0, f22 bigint not null default 0, f23 bigint not null default 0,
    primary key (subject, name)
);

create index if not exists {p}model_hourly_hour on {p}model_hourly (hour);

-- Ever begins with what was counted before these tables were there. Of tokens
-- the requests are known, but not what came of them. Tokens that are stored as
-- they are follow when they are hashed.

insert into {p}tally_ever (subject, name, last_used, requests, success, failure, input_tokens, output_tokens)
    select 'provider', '', updated_at, coalesce(total_requests, 0), coalesce(success_count, 0), coalesce(failure_count, 0),
        coalesce(input_tokens, 0), coalesce(output_tokens, 0)
    from {p}global_stats where id = 'global'
    on conflict do nothing;

insert into {p}tally_ever (subject, name, last_used, requests, success, failure, input_tokens, output_tokens)
    select 'model', coalesce(model, ''), max(last_used), sum(coalesce(total_requests, 0)), sum(coalesce(success_count, 0)),
        sum(coalesce(failure_count, 0)), sum(coalesce(input_tokens, 0)), sum(coalesce(output_tokens, 0))
    from {p}model_stats where provider || '_api_' = '{p}' group by coalesce(model, '')
    on conflict do nothing;

insert into {p}tally_ever (subject, name, last_used, requests, input_tokens, output_tokens)
    select 'token', token, last_used, coalesce(request_count, 0), coalesce(input_tokens, 0), coalesce(output_tokens, 0)
    from {p}client_tokens where token like 'sha256:%'
    on conflict do nothing;
