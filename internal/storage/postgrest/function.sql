-- Runs statements in one transaction and tells of each how many rows it changed
-- or found ("n"), a digest of the result ("d"), and of queries the columns'
-- types ("t") and rows ("r").
--
--   texts   the statements' texts
--   run     which of them to run: {"s": its place in texts, "a": its values, all
--           of which the text finds in $1, "q": it is a query, "want": the digest
--           that it is to have: its rows are known then and not given again}
--   lock    the number of an advisory lock that is taken first, null: none
--   commit  whether to keep what was done, which is done only if every result is
--           as wanted; "done" in the answer says whether it was kept
create or replace function {schema}.ollama_api_pool_sql(request jsonb) returns json
language plpgsql volatile security invoker
set search_path = {schema}, pg_temp
set timezone = 'UTC'
set statement_timeout = '60s'
set lock_timeout = '10s'
as $function$
declare
    one jsonb;
    digest text;
    changed bigint;
    found_types json;
    found_rows json;
    same boolean := true;
    done boolean := false;
    told json[] := '{}';
begin
    if request->>'lock' is not null then
        perform pg_advisory_xact_lock((request->>'lock')::bigint);
    end if;
    begin
        for one in select value from jsonb_array_elements(request->'run') loop
            found_types := null;
            found_rows := null;
            if (one->>'q')::boolean then
                execute request->'texts'->>(one->>'s')::int into found_rows, found_types using one->'a';
                changed := json_array_length(found_rows);
                digest := md5(found_rows::text);
            else
                execute request->'texts'->>(one->>'s')::int using one->'a';
                get diagnostics changed = row_count;
                digest := changed::text;
            end if;
            if one->>'want' <> digest then
                same := false;
            elsif one->>'want' is not null then
                found_rows := null;
            end if;
            told := told || json_build_object('n', changed, 'd', digest, 't', found_types, 'r', found_rows);
        end loop;
        done := same and coalesce((request->>'commit')::boolean, false);
        if not done then
            raise exception using errcode = 'OAP00', message = 'undone';
        end if;
    exception when others then
        -- After a result that is not as it was, a later statement may fail for
        -- that reason alone.
        if sqlstate <> 'OAP00' and same then
            raise;
        end if;
    end;
    return json_build_object('form', 1, 'done', done, 'same', same, 'results', array_to_json(told));
end
$function$;

-- The same for queries alone, in a transaction that cannot write. All see one
-- moment of the database. "earlier" are queries that were run before, with what
-- they gave: when something was committed since the moment "snapshot", it is
-- looked whether they would still give it.
create or replace function {schema}.ollama_api_pool_read(request jsonb) returns json
language plpgsql stable security invoker
set search_path = {schema}, pg_temp
set timezone = 'UTC'
set statement_timeout = '60s'
as $function$
declare
    one jsonb;
    now_seen text := pg_current_snapshot()::text;
    found_types json;
    found_rows json;
    told json[] := '{}';
begin
    if request->>'snapshot' <> now_seen then
        for one in select value from jsonb_array_elements(request->'earlier') loop
            execute request->'texts'->>(one->>'s')::int into found_rows, found_types using one->'a';
            if one->>'want' <> md5(found_rows::text) then
                return json_build_object('form', 1, 'same', false);
            end if;
        end loop;
    end if;
    for one in select value from jsonb_array_elements(request->'run') loop
        execute request->'texts'->>(one->>'s')::int into found_rows, found_types using one->'a';
        told := told || json_build_object('n', json_array_length(found_rows), 'd', md5(found_rows::text), 't', found_types, 'r', found_rows);
    end loop;
    return json_build_object('form', 1, 'same', true, 'snapshot', now_seen, 'results', array_to_json(told));
end
$function$;

revoke all on function {schema}.ollama_api_pool_sql(jsonb) from public;
revoke all on function {schema}.ollama_api_pool_read(jsonb) from public;
do $rights$
declare
    who text;
begin
    for who in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
        execute format('revoke all on function {schema}.ollama_api_pool_sql(jsonb), {schema}.ollama_api_pool_read(jsonb) from %I', who);
    end loop;
    if exists (select 1 from pg_roles where rolname = 'service_role') then
        grant execute on function {schema}.ollama_api_pool_sql(jsonb), {schema}.ollama_api_pool_read(jsonb) to service_role;
    end if;
end
$rights$;
