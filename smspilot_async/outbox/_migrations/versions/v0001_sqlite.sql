-- The first tables, as they were released. A change is a migration of its own.

CREATE TABLE smspilot_ledger (
  id SMALLINT NOT NULL,
  uid TEXT NOT NULL,
  version INTEGER NOT NULL,
  oldest_compatible INTEGER NOT NULL,
  account_id BIGINT NOT NULL,
  endpoint TEXT NOT NULL,
  is_test BOOLEAN NOT NULL,
  home TEXT NOT NULL,
  salt BLOB NOT NULL,
  attempts_gone BIGINT DEFAULT '0' NOT NULL,
  created_at BIGINT NOT NULL,
  CONSTRAINT pk_smspilot_ledger PRIMARY KEY (id)
);

CREATE TABLE smspilot_account (
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
  CONSTRAINT pk_smspilot_account PRIMARY KEY (id)
);

CREATE TABLE smspilot_campaign (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT,
  starts_at BIGINT DEFAULT '0' NOT NULL,
  expires_at BIGINT DEFAULT '9223372036854775807' NOT NULL,
  budget TEXT,
  spent TEXT DEFAULT '0' NOT NULL,
  tat BIGINT DEFAULT '0' NOT NULL,
  first BIGINT,
  digest TEXT,
  settings TEXT DEFAULT '{}' NOT NULL,
  rate_limit FLOAT GENERATED ALWAYS AS (CAST(json_extract(settings, '$.rate_limit') AS DOUBLE PRECISION)) STORED,
  is_windowed BOOLEAN GENERATED ALWAYS AS (json_extract(settings, '$.window') IS NOT NULL) STORED,
  created_at BIGINT NOT NULL,
  created_by TEXT DEFAULT '' NOT NULL,
  started_at BIGINT,
  finished_at BIGINT,
  taken BIGINT DEFAULT '0' NOT NULL,
  taken_hash BLOB,
  counts TEXT DEFAULT '{}' NOT NULL,
  estimate TEXT,
  first_id BIGINT DEFAULT '0' NOT NULL,
  last_id BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_smspilot_campaign PRIMARY KEY (id),
  CONSTRAINT uq_smspilot_campaign_name UNIQUE (name)
);

CREATE TABLE smspilot_message (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  stream_id INTEGER NOT NULL,
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
  hash BLOB NOT NULL,
  sender TEXT,
  ttl SMALLINT,
  callback TEXT,
  callback_method TEXT,
  send_at BIGINT,
  "key" TEXT,
  line BIGINT,
  extra TEXT,
  created_at BIGINT NOT NULL,
  settled_at BIGINT,
  resends SMALLINT DEFAULT '0' NOT NULL,
  sent_twice BOOLEAN DEFAULT 0 NOT NULL,
  server_id TEXT,
  parts SMALLINT,
  price TEXT,
  status SMALLINT,
  status_error INTEGER,
  status_at BIGINT,
  CONSTRAINT uq_smspilot_message_key UNIQUE ("key")
);

CREATE INDEX ix_smspilot_message_unknown ON smspilot_message (id) WHERE state = 'unknown';

CREATE INDEX ix_smspilot_message_hash ON smspilot_message (hash);

CREATE INDEX ix_smspilot_message_pending ON smspilot_message (stream_id, due, id) WHERE state = 'pending';

CREATE TABLE smspilot_attempt (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  token TEXT NOT NULL,
  sender TEXT NOT NULL,
  stream_id INTEGER,
  intent_at BIGINT NOT NULL,
  lease BIGINT NOT NULL,
  message_ids JSON NOT NULL,
  hash BLOB,
  outcome TEXT,
  evidence TEXT,
  recorded_at BIGINT,
  server_packet_id TEXT,
  cost TEXT,
  amount TEXT,
  is_counted BOOLEAN DEFAULT 0 NOT NULL,
  next_poll BIGINT DEFAULT '0',
  polls INTEGER DEFAULT '0' NOT NULL,
  doubtful TEXT,
  CONSTRAINT uq_smspilot_attempt_token UNIQUE (token)
);

CREATE INDEX ix_smspilot_attempt_lease ON smspilot_attempt (lease) WHERE outcome IS NULL;

CREATE INDEX ix_smspilot_attempt_uncounted ON smspilot_attempt (stream_id) WHERE amount IS NOT NULL AND NOT is_counted;

CREATE INDEX ix_smspilot_attempt_next_poll ON smspilot_attempt (next_poll) WHERE next_poll IS NOT NULL;

CREATE TABLE smspilot_orders (
  id INTEGER NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  why TEXT,
  detail TEXT,
  count BIGINT,
  campaign_id INTEGER,
  CONSTRAINT pk_smspilot_orders PRIMARY KEY (id)
);

CREATE TABLE smspilot_grants (
  campaign_id INTEGER NOT NULL,
  owner TEXT NOT NULL,
  messages INTEGER,
  amount TEXT,
  is_whole BOOLEAN DEFAULT 0 NOT NULL,
  until BIGINT NOT NULL,
  CONSTRAINT pk_smspilot_grants PRIMARY KEY (campaign_id, owner)
);

CREATE TABLE smspilot_price (
  prefix TEXT NOT NULL,
  country TEXT NOT NULL,
  amount TEXT,
  CONSTRAINT pk_smspilot_price PRIMARY KEY (prefix)
);

CREATE TABLE smspilot_slot (
  n INTEGER NOT NULL,
  owner TEXT,
  lease BIGINT DEFAULT '0' NOT NULL,
  wanted_by TEXT,
  wanted_until BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_smspilot_slot PRIMARY KEY (n)
);

CREATE TABLE smspilot_worker (
  name TEXT NOT NULL,
  version TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  rate_limit FLOAT,
  CONSTRAINT pk_smspilot_worker PRIMARY KEY (name)
);

CREATE TABLE smspilot_suppression (
  phone TEXT NOT NULL,
  list TEXT NOT NULL,
  at BIGINT NOT NULL,
  source TEXT,
  CONSTRAINT pk_smspilot_suppression PRIMARY KEY (phone, list)
);

CREATE TABLE smspilot_spent_key (
  key_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  message_id BIGINT NOT NULL,
  state TEXT NOT NULL,
  at BIGINT NOT NULL,
  CONSTRAINT pk_smspilot_spent_key PRIMARY KEY (key_hash)
);

CREATE TABLE smspilot_bad_row (
  campaign_id INTEGER NOT NULL,
  line BIGINT NOT NULL,
  code INTEGER,
  field TEXT,
  why TEXT NOT NULL,
  CONSTRAINT pk_smspilot_bad_row PRIMARY KEY (campaign_id, line),
  CONSTRAINT fk_smspilot_bad_row_campaign_id FOREIGN KEY(campaign_id) REFERENCES smspilot_campaign (id)
);

CREATE TABLE smspilot_stream (
  id INTEGER NOT NULL,
  campaign_id INTEGER,
  lane SMALLINT NOT NULL,
  zone TEXT DEFAULT '' NOT NULL,
  open_from BIGINT DEFAULT '0' NOT NULL,
  open_until BIGINT DEFAULT '9223372036854775807' NOT NULL,
  closes_at BIGINT,
  floor_due BIGINT DEFAULT '0' NOT NULL,
  floor_id BIGINT DEFAULT '0' NOT NULL,
  CONSTRAINT pk_smspilot_stream PRIMARY KEY (id),
  CONSTRAINT fk_smspilot_stream_campaign_id FOREIGN KEY(campaign_id) REFERENCES smspilot_campaign (id)
);
