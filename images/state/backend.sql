do $$
declare place record;
begin
    for place in
        select table_name from information_schema.columns
        where column_name = 'status' and table_name in ('kernels', 'sessions')
    loop
        execute format(
            'update %I set status = ''TERMINATED'', status_info = ''not in the snapshot'', '
            'terminated_at = coalesce(terminated_at, now()) '
            'where status::text not in (''TERMINATED'', ''CANCELLED'', ''ERROR'')', place.table_name);
    end loop;
    -- Their addresses may be another environment's, until they say that they are there.
    update agents set occupied_slots = '{}', status = 'LOST', lost_at = now();
    if exists (
        select from information_schema.columns where table_name = 'keypairs' and column_name = 'concurrency_used'
    ) then
        update keypairs set concurrency_used = 0;
    end if;
end $$
