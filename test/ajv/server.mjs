// Sends rows to PostgreSQL and reads back the verdicts, through psql alone.
import { spawnSync } from 'node:child_process'

const escape = (s) => s.replace(/[\\\n\t\r]/g, (c) => ({ '\\': '\\\\', '\n': '\\n', '\t': '\\t', '\r': '\\r' })[c])

// rows: [schema text, instance text]; verdicts: 't', 'f' or 'e <sqlstate> <message>'
export function verdicts(rows) {
  const script = `
SET client_min_messages = warning;
CREATE TEMP TABLE pair (id int, schema text, instance text);
\\copy pair from pstdin
${rows.map((row, i) => [i, ...row.map(escape)].join('\t')).join('\n')}
\\.
CREATE FUNCTION pg_temp.verdict(schema text, instance text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  ok boolean;
BEGIN
  ok := eb_schema_valid(schema::jsonb, instance::jsonb);
  IF ok = EXISTS (SELECT FROM eb_schema_violations(schema::jsonb, instance::jsonb)) THEN
    RETURN 'e modes disagree';
  END IF;
  RETURN ok;
EXCEPTION WHEN OTHERS THEN
  RETURN 'e ' || SQLSTATE || ' ' || replace(SQLERRM, chr(10), ' ');
END $$;
SELECT pg_temp.verdict(schema, instance) FROM pair ORDER BY id;
`
  const input = script.replace('\\copy pair from pstdin', 'COPY pair FROM STDIN;')
  const psql = spawnSync('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', '-'], { input, maxBuffer: 1 << 30, encoding: 'utf8' })
  if (psql.status !== 0) throw new Error(`psql failed: ${psql.error ?? psql.stderr}`)
  return psql.stdout.split('\n').slice(0, rows.length).map((v) => ({ true: 't', false: 'f' })[v] ?? v)
}
