-- The first tables, as they were released. A change is a migration of its own.

CREATE TABLE smspilot.ledger (
  id SMALLINT NOT NULL,
  uid TEXT NOT NULL,
  version INTEGER NOT NULL,
  oldest_compatible INTEGER NOT NULL,
  account_id BIGINT NOT NULL,
  endpoint TEXT NOT NULL,
  is_test BOOLEAN NOT NULL,
  home TEXT NOT NULL,
  salt BYTEA NOT NULL,
  attempts_gone BIGINT DEFAULT '0' NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT pk_ledger PRIMARY KEY (id)
);

COMMENT ON TABLE smspilot.ledger IS 'One row: what this ledger is, and what it is bound to';

CREATE TABLE smspilot.account (
  id SMALLINT NOT NULL,
  tat BIGINT DEFAULT '0' NOT NULL,
  paused TEXT,
  paused_at BIGINT,
  halted TEXT,
  halted_why TEXT,
  unknowns INTEGER DEFAULT '0' NOT NULL,
  brake_until BIGINT DEFAULT '0' NOT NULL,
  brake_pause BIGINT DEFAULT '0' NOT NULL,
  called_at BIGINT,
  CONSTRAINT pk_account PRIMARY KEY (id)
);

COMMENT ON TABLE smspilot.account IS 'One row: what holds for everything that this account sends';

CREATE TABLE smspilot.campaign (
  id BIGSERIAL NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  starts_at BIGINT DEFAULT '0' NOT NULL,
  expires_at BIGINT DEFAULT '9223372036854775807' NOT NULL,
  budget NUMERIC,
  spent NUMERIC DEFAULT '0' NOT NULL,
  tat BIGINT DEFAULT '0' NOT NULL,
  first BIGINT,
  digest TEXT,
  settings TEXT DEFAULT '{}' NOT NULL,
  rate_limit FLOAT GENERATED ALWAYS AS (CAST((CAST(settings AS json) ->> 'rate_limit') AS DOUBLE PRECISION)) STORED,
  is_windowed BOOLEAN GENERATED ALWAYS AS ((CAST(settings AS json) ->> 'window') IS NOT NULL) STORED,
  created_at BIGINT NOT NULL,
  created_by TEXT DEFAULT '' NOT NULL,
  started_at BIGINT,
  finished_at BIGINT,
  taken BIGINT DEFAULT '0' NOT NULL,
  taken_hash BYTEA,
  counts TEXT DEFAULT '{}' NOT NULL,
  estimate TEXT,
  first_id BIGINT DEFAULT '0' NOT NULL,
  last_id BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_campaign PRIMARY KEY (id),
  CONSTRAINT uq_campaign_name UNIQUE (name)
);

CREATE TABLE smspilot.message (
  id BIGSERIAL NOT NULL,
  stream_id BIGINT NOT NULL,
  state TEXT DEFAULT 'pending' NOT NULL,
  reason TEXT,
  code INTEGER,
  attempt_id BIGINT,
  due BIGINT NOT NULL,
  wanted_at BIGINT NOT NULL,
  valid_until BIGINT,
  most INTEGER,
  tries INTEGER DEFAULT '0' NOT NULL,
  on_wire INTEGER DEFAULT '0' NOT NULL,
  phone TEXT NOT NULL,
  text TEXT,
  hash BYTEA NOT NULL,
  sender TEXT,
  ttl SMALLINT,
  callback TEXT,
  callback_method TEXT,
  send_at BIGINT,
  key TEXT,
  line BIGINT,
  extra TEXT,
  created_at BIGINT NOT NULL,
  settled_at BIGINT,
  resends SMALLINT DEFAULT '0' NOT NULL,
  sent_twice BOOLEAN DEFAULT false NOT NULL,
  server_id TEXT,
  parts SMALLINT,
  price NUMERIC,
  status SMALLINT,
  status_error INTEGER,
  status_at BIGINT,
  CONSTRAINT pk_message PRIMARY KEY (id),
  CONSTRAINT uq_message_key UNIQUE (key)
);

CREATE INDEX ix_smspilot_message_hash ON smspilot.message (hash);

CREATE INDEX ix_smspilot_message_unknown ON smspilot.message (id) WHERE state = 'unknown';

CREATE INDEX ix_smspilot_message_pending ON smspilot.message (stream_id, due, id) WHERE state = 'pending';

ALTER TABLE smspilot.message SET (fillfactor = 70);

CREATE TABLE smspilot.attempt (
  id BIGSERIAL NOT NULL,
  token TEXT NOT NULL,
  sender TEXT NOT NULL,
  stream_id BIGINT,
  intent_at BIGINT NOT NULL,
  lease BIGINT NOT NULL,
  message_ids BIGINT[] NOT NULL,
  hash BYTEA,
  outcome TEXT,
  evidence TEXT,
  recorded_at BIGINT,
  server_packet_id TEXT,
  cost NUMERIC,
  amount NUMERIC,
  is_counted BOOLEAN DEFAULT false NOT NULL,
  next_poll BIGINT DEFAULT '0',
  polls INTEGER DEFAULT '0' NOT NULL,
  doubtful TEXT,
  CONSTRAINT pk_attempt PRIMARY KEY (id),
  CONSTRAINT uq_attempt_token UNIQUE (token)
);

CREATE INDEX ix_smspilot_attempt_next_poll ON smspilot.attempt (next_poll) WHERE next_poll IS NOT NULL;

CREATE INDEX ix_smspilot_attempt_lease ON smspilot.attempt (lease) WHERE outcome IS NULL;

CREATE INDEX ix_smspilot_attempt_uncounted ON smspilot.attempt (stream_id) WHERE amount IS NOT NULL AND NOT is_counted;

COMMENT ON TABLE smspilot.attempt IS 'One for each request that may reach the wire; never deleted but by purge';

CREATE TABLE smspilot.orders (
  id BIGSERIAL NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  why TEXT,
  detail TEXT,
  count BIGINT,
  campaign_id BIGINT,
  CONSTRAINT pk_orders PRIMARY KEY (id)
);

COMMENT ON TABLE smspilot.orders IS 'Who ordered what, why and when; append-only';

CREATE TABLE smspilot.grants (
  campaign_id BIGINT NOT NULL,
  owner TEXT NOT NULL,
  messages INTEGER,
  amount NUMERIC,
  is_whole BOOLEAN DEFAULT false NOT NULL,
  until BIGINT NOT NULL,
  CONSTRAINT pk_grants PRIMARY KEY (campaign_id, owner)
);

COMMENT ON TABLE smspilot.grants IS 'What a sender may use up of a campaign''s rate, first wave and budget in about a second';

CREATE TABLE smspilot.price (
  prefix TEXT NOT NULL,
  country TEXT NOT NULL,
  amount NUMERIC,
  CONSTRAINT pk_price PRIMARY KEY (prefix)
);

COMMENT ON TABLE smspilot.price IS 'The dearest price of a part that was seen for each country';

CREATE TABLE smspilot.slot (
  n INTEGER NOT NULL,
  owner TEXT,
  lease BIGINT DEFAULT '0' NOT NULL,
  wanted_by TEXT,
  wanted_until BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_slot PRIMARY KEY (n)
);

COMMENT ON TABLE smspilot.slot IS 'Connections of the account, shared by all machines';

CREATE TABLE smspilot.worker (
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  rate_limit FLOAT,
  CONSTRAINT pk_worker PRIMARY KEY (name)
);

COMMENT ON TABLE smspilot.worker IS 'Processes that send; nothing is decided by it';

CREATE TABLE smspilot.suppression (
  phone TEXT NOT NULL,
  list TEXT NOT NULL,
  at BIGINT NOT NULL,
  source TEXT,
  CONSTRAINT pk_suppression PRIMARY KEY (phone, list)
);

COMMENT ON TABLE smspilot.suppression IS 'Who must not get marketing, or anything';

CREATE TABLE smspilot.spent_key (
  key_hash BYTEA NOT NULL,
  hash BYTEA NOT NULL,
  message_id BIGINT NOT NULL,
  state TEXT NOT NULL,
  at BIGINT NOT NULL,
  CONSTRAINT pk_spent_key PRIMARY KEY (key_hash)
);

COMMENT ON TABLE smspilot.spent_key IS 'Keys of messages that were purged';

CREATE TABLE smspilot.bad_row (
  campaign_id BIGINT NOT NULL,
  line BIGINT NOT NULL,
  code INTEGER,
  field TEXT,
  why TEXT NOT NULL,
  CONSTRAINT pk_bad_row PRIMARY KEY (campaign_id, line),
  CONSTRAINT fk_bad_row_campaign_id FOREIGN KEY(campaign_id) REFERENCES smspilot.campaign (id)
);

COMMENT ON TABLE smspilot.bad_row IS 'Rows of lists that make no message; neither phones nor texts';

CREATE TABLE smspilot.stream (
  id BIGSERIAL NOT NULL,
  campaign_id BIGINT,
  lane SMALLINT NOT NULL,
  zone TEXT DEFAULT '' NOT NULL,
  open_from BIGINT DEFAULT '0' NOT NULL,
  open_until BIGINT DEFAULT '9223372036854775807' NOT NULL,
  closes_at BIGINT,
  floor_due BIGINT DEFAULT '0' NOT NULL,
  floor_id BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_stream PRIMARY KEY (id),
  CONSTRAINT fk_stream_campaign_id FOREIGN KEY(campaign_id) REFERENCES smspilot.campaign (id)
);

COMMENT ON TABLE smspilot.stream IS 'What is due together: a kind of the outbox, or a campaign in one zone';
