-- The database and its two roles. Run as superuser, once, and again whenever this file changes: it only adds and corrects.
--   esimshop_owner  owns database and tables; migrations run as this role, nothing else
--   esimshop        the web server, the workers, and the commands: rows only, no table can be made, changed or emptied
-- Passwords, for connections by TCP, come from the environment (OWNER_PASSWORD, RUNTIME_PASSWORD); without them the roles have
-- none, and whoever connects is known by the name of their user on this machine.
\set ON_ERROR_STOP on
\set QUIET on

SELECT 'CREATE ROLE esimshop_owner' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'esimshop_owner') \gexec
SELECT 'CREATE ROLE esimshop' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'esimshop') \gexec
ALTER ROLE esimshop_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE esimshop LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT;
-- A migration that cannot have its lock gives up, rather than hold up the shop behind it.
ALTER ROLE esimshop_owner SET lock_timeout = '10s';
-- What a process holds that hangs in the middle of a transaction, or whose machine is gone, comes free within a minute. No call
-- to the outside is made inside a transaction, so none takes that long.
ALTER ROLE esimshop SET idle_in_transaction_session_timeout = '1min';
ALTER ROLE esimshop SET tcp_keepalives_idle = 10;
ALTER ROLE esimshop SET tcp_keepalives_interval = 10;
ALTER ROLE esimshop SET tcp_keepalives_count = 3;
ALTER ROLE esimshop SET tcp_user_timeout = '40s';

\getenv owner_password OWNER_PASSWORD
\if :{?owner_password}
ALTER ROLE esimshop_owner PASSWORD :'owner_password';
\endif
\getenv runtime_password RUNTIME_PASSWORD
\if :{?runtime_password}
ALTER ROLE esimshop PASSWORD :'runtime_password';
\endif

SELECT 'CREATE DATABASE esimshop OWNER esimshop_owner'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'esimshop') \gexec
ALTER DATABASE esimshop OWNER TO esimshop_owner;
REVOKE ALL ON DATABASE esimshop FROM PUBLIC;
GRANT CONNECT ON DATABASE esimshop TO esimshop;

\connect esimshop

ALTER SCHEMA public OWNER TO esimshop_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO esimshop;

-- What is there, and what migrations will make.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO esimshop;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO esimshop;
ALTER DEFAULT PRIVILEGES FOR ROLE esimshop_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO esimshop;
ALTER DEFAULT PRIVILEGES FOR ROLE esimshop_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO esimshop;
-- Functions of the queue run with the rights of whoever calls them.
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO esimshop;
ALTER DEFAULT PRIVILEGES FOR ROLE esimshop_owner IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO esimshop;
