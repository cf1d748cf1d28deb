do $$
begin
    -- What a coordinator that never came to its schema left is empty.
    if to_regclass('public.circuits') is null then return; end if;
    -- Programs of sessions went with these; model services stay, and the manager says anew where they run.
    delete from circuits where app_mode::text = 'INTERACTIVE';
    update circuits set session_ids = '{}', route_info = '[]';
    delete from tokens;
    -- Its addresses may be another environment's, until it says that it is there.
    update workers set
        nodes = 0, status = 'LOST', occupied_slots = (select count(*) from circuits where circuits.worker = workers.id);
end $$
