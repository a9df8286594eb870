-- Counts of attempts that are yet to be added to key_stats, see journal.go.
create table if not exists {p}key_journal (
    id bigserial primary key,
    part int not null,
    counts text not null
);
create index if not exists {p}key_journal_part on {p}key_journal (part);
