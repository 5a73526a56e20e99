"""``smspilot.smspilot_enqueue``: the outbox's INSERT as a function of PostgreSQL, for any cursor and any language.

It obeys the rules of :mod:`smspilot_async.outbox._enqueue`: what SQL can check is checked here, and the rest when a
sender makes the message, which refuses it then. A released migration makes this version of it; a change of the rules
is a function of its own in a migration of its own.
"""

from typing import Final

__all__ = ["ENQUEUE"]

ENQUEUE: Final = r"""
CREATE FUNCTION smspilot.smspilot_enqueue(
  phone text, text text, key text, kind text DEFAULT 'service', valid_for double precision DEFAULT NULL,
  sender text DEFAULT NULL, send_at timestamptz DEFAULT NULL, ttl integer DEFAULT NULL,
  callback text DEFAULT NULL, callback_method text DEFAULT NULL
) RETURNS TABLE (id bigint, is_new boolean)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $enqueue$
#variable_conflict use_variable
DECLARE
  salt bytea := (SELECT l.salt FROM smspilot.ledger l);
  bare text := regexp_replace(phone, '[\s().\u2010-\u2015\u2212-]+', '', 'g');
  digits text := regexp_replace(bare, '^\+', '');
  lane bigint := CASE kind WHEN 'code' THEN 0 WHEN 'service' THEN 1 WHEN 'marketing' THEN 2 END;
  content bytea;
  known bytea;
  spent bytea;
  moment bigint := smspilot.now_us();
  leaves bigint;
BEGIN
  IF bare = digits AND digits ~ '^8[79][0-9]{9}$' THEN
    digits := '7' || substr(digits, 2);
  END IF;
  CASE
    WHEN salt IS NULL THEN
      RAISE EXCEPTION 'there is no ledger in this database' USING ERRCODE = 'object_not_in_prerequisite_state';
    WHEN phone ~ '([.,]0|[0-9][eE]\+?[0-9]{1,2})\s*$' OR digits !~ '^[1-9][0-9]{6,14}$' OR digits IS NULL
      OR (digits LIKE '7%' AND length(digits) <> 11) THEN
      RAISE EXCEPTION 'a phone is 7 to 15 digits, beginning with its country code; of +7 it is 11'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Nothing was written.';
    WHEN text IS NULL OR text = '' OR length(text) > 1530 THEN
      RAISE EXCEPTION 'a text is 1 to 1530 characters' USING ERRCODE = 'invalid_parameter_value';
    WHEN key IS NULL OR length(key) NOT BETWEEN 1 AND 200 THEN
      RAISE EXCEPTION 'a key is 1 to 200 characters' USING ERRCODE = 'invalid_parameter_value';
    WHEN lane IS NULL THEN
      RAISE EXCEPTION 'kind is code, service or marketing' USING ERRCODE = 'invalid_parameter_value';
    WHEN lane = 0 AND valid_for IS NULL THEN
      RAISE EXCEPTION 'a code needs valid_for: the seconds after which it must not leave any more'
        USING ERRCODE = 'invalid_parameter_value';
    WHEN NOT (valid_for > 0 AND valid_for < 1e9) THEN
      RAISE EXCEPTION 'valid_for is a number of seconds above 0' USING ERRCODE = 'invalid_parameter_value';
    WHEN ttl NOT BETWEEN 1 AND 1440 THEN
      RAISE EXCEPTION 'ttl is 1 to 1440 minutes' USING ERRCODE = 'invalid_parameter_value';
    WHEN sender !~ '^([A-Za-z0-9.-]{3,11}|[0-9]{10,16})$' THEN
      RAISE EXCEPTION 'a sender is 3 to 11 Latin letters, digits, - or ., or 10 to 16 digits'
        USING ERRCODE = 'invalid_parameter_value';
    WHEN callback !~ '^https?://[^\s/]' THEN
      RAISE EXCEPTION 'callback is an absolute http or https URL' USING ERRCODE = 'invalid_parameter_value';
    WHEN callback_method NOT IN ('get', 'post') THEN
      RAISE EXCEPTION 'callback_method is get or post' USING ERRCODE = 'invalid_parameter_value';
    ELSE NULL;
  END CASE;
  content := substring(sha256(salt || convert_to(digits || E'\n' || text, 'UTF8')) FROM 1 FOR 16);
  spent := substring(sha256(salt || convert_to(E'key\n' || key, 'UTF8')) FROM 1 FOR 16);
  leaves := greatest(moment, coalesce((extract(epoch FROM send_at) * 1000000)::bigint, 0));
  is_new := true;
  INSERT INTO smspilot.message AS m (stream_id, due, wanted_at, valid_until, phone, text, hash, sender, ttl, callback,
    callback_method, key, created_at)
  SELECT lane, leaves, leaves, leaves + (valid_for * 1000000)::bigint, digits, text, content, sender, ttl, callback,
    callback_method, key, moment
  WHERE NOT EXISTS (SELECT 1 FROM smspilot.spent_key k WHERE k.key_hash = spent)
  ON CONFLICT ON CONSTRAINT uq_message_key DO NOTHING RETURNING m.id INTO id;
  IF id IS NULL THEN
    is_new := false;
    SELECT f.id, f.hash INTO id, known FROM (
      SELECT m.id, m.hash FROM smspilot.message m WHERE m.key = smspilot_enqueue.key
      UNION ALL SELECT k.message_id, k.hash FROM smspilot.spent_key k WHERE k.key_hash = spent
    ) f LIMIT 1;
    IF known IS DISTINCT FROM content THEN
      RAISE EXCEPTION 'the key stands for message % already, with another phone or text', id
        USING ERRCODE = 'unique_violation', HINT = 'Give every message a key of its own.';
    END IF;
  END IF;
  RETURN NEXT;
END
$enqueue$
"""
