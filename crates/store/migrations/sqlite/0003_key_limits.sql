-- Until when a key opens anything, and how much it may ask for. NULL: for ever, and without limit.

ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE api_keys ADD COLUMN requests_per_minute INTEGER CHECK (requests_per_minute > 0);
ALTER TABLE api_keys ADD COLUMN tokens_per_minute INTEGER CHECK (tokens_per_minute > 0);
-- Days of UTC.
ALTER TABLE api_keys ADD COLUMN tokens_per_day INTEGER CHECK (tokens_per_day > 0);
ALTER TABLE api_keys ADD COLUMN max_concurrent_requests INTEGER CHECK (max_concurrent_requests > 0);
