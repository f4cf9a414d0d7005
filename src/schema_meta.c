/*
 * schema_meta.c
 *		The meta-schemas of the two drafts, so that a schema may refer to them.
 *
 * Each is one document here that accepts what the published ones accept; the
 * published 2020-12 is spread over several vocabularies.
 */
#include "postgres.h"

#include "schema_compile.h"

#define COUNT		"{\"type\":\"integer\",\"minimum\":0}"
#define STRING		"{\"type\":\"string\"}"
#define STRINGS		"{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"uniqueItems\":true}"
#define NAMES		"\"enum\":[\"array\",\"boolean\",\"integer\",\"null\",\"number\",\"object\",\"string\"]"
#define TYPE		"{\"anyOf\":[{" NAMES "},{\"type\":\"array\",\"items\":{" NAMES "}," \
	"\"minItems\":1,\"uniqueItems\":true}]}"
#define LIST(self)	"{\"type\":\"array\",\"minItems\":1,\"items\":" self "}"
#define MAP(self)	"{\"type\":\"object\",\"additionalProperties\":" self "}"

/* what both drafts have */
#define COMMON(self) \
	"\"$comment\":" STRING ",\"title\":" STRING ",\"description\":" STRING "," \
	"\"readOnly\":{\"type\":\"boolean\"},\"writeOnly\":{\"type\":\"boolean\"}," \
	"\"examples\":{\"type\":\"array\"}," \
	"\"multipleOf\":{\"type\":\"number\",\"exclusiveMinimum\":0}," \
	"\"maximum\":{\"type\":\"number\"},\"exclusiveMaximum\":{\"type\":\"number\"}," \
	"\"minimum\":{\"type\":\"number\"},\"exclusiveMinimum\":{\"type\":\"number\"}," \
	"\"maxLength\":" COUNT ",\"minLength\":" COUNT "," \
	"\"pattern\":" STRING ",\"format\":" STRING "," \
	"\"contentMediaType\":" STRING ",\"contentEncoding\":" STRING "," \
	"\"maxItems\":" COUNT ",\"minItems\":" COUNT ",\"uniqueItems\":{\"type\":\"boolean\"}," \
	"\"maxProperties\":" COUNT ",\"minProperties\":" COUNT ",\"required\":" STRINGS "," \
	"\"contains\":" self ",\"additionalProperties\":" self ",\"propertyNames\":" self "," \
	"\"definitions\":" MAP(self) ",\"properties\":" MAP(self) "," \
	"\"patternProperties\":" MAP(self) "," \
	"\"dependencies\":{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[" self "," STRINGS "]}}," \
	"\"type\":" TYPE ",\"if\":" self ",\"then\":" self ",\"else\":" self "," \
	"\"allOf\":" LIST(self) ",\"anyOf\":" LIST(self) ",\"oneOf\":" LIST(self) ",\"not\":" self

#define SELF_07		"{\"$ref\":\"#\"}"
#define SELF_2020	"{\"$dynamicRef\":\"#meta\"}"
#define ANCHOR		"{\"type\":\"string\",\"pattern\":\"^[A-Za-z_][-A-Za-z0-9._]*$\"}"

static const char draft_07[] =
"{\"$schema\":\"http://json-schema.org/draft-07/schema#\","
"\"$id\":\"http://json-schema.org/draft-07/schema#\","
"\"type\":[\"object\",\"boolean\"],\"properties\":{"
"\"$id\":" STRING ",\"$schema\":" STRING ",\"$ref\":" STRING ","
"\"enum\":{\"type\":\"array\"},"
"\"additionalItems\":" SELF_07 ","
"\"items\":{\"anyOf\":[" SELF_07 "," LIST(SELF_07) "]},"
COMMON(SELF_07) "}}";

static const char draft_2020_12[] =
"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\","
"\"$id\":\"https://json-schema.org/draft/2020-12/schema\","
"\"$dynamicAnchor\":\"meta\","
"\"type\":[\"object\",\"boolean\"],\"properties\":{"
"\"$id\":{\"type\":\"string\",\"pattern\":\"^[^#]*#?$\"},"
"\"$schema\":" STRING ",\"$ref\":" STRING ",\"$dynamicRef\":" STRING ","
"\"$anchor\":" ANCHOR ",\"$dynamicAnchor\":" ANCHOR ","
"\"$vocabulary\":{\"type\":\"object\",\"additionalProperties\":{\"type\":\"boolean\"}},"
"\"$defs\":" MAP(SELF_2020) ",\"deprecated\":{\"type\":\"boolean\"},"
"\"enum\":{\"type\":\"array\"},"
"\"maxContains\":" COUNT ",\"minContains\":" COUNT ","
"\"dependentRequired\":{\"type\":\"object\",\"additionalProperties\":" STRINGS "},"
"\"dependentSchemas\":" MAP(SELF_2020) ","
"\"prefixItems\":" LIST(SELF_2020) ",\"items\":" SELF_2020 ","
"\"unevaluatedItems\":" SELF_2020 ",\"unevaluatedProperties\":" SELF_2020 ","
"\"contentSchema\":" SELF_2020 ",\"$recursiveAnchor\":" ANCHOR ",\"$recursiveRef\":" STRING ","
COMMON(SELF_2020) "}}";

const char *
eb_schema_meta_text(const char *uri, EbDraft *draft)
{
	if (strcmp(uri, "http://json-schema.org/draft-07/schema") == 0)
	{
		*draft = EB_DRAFT_07;
		return draft_07;
	}
	if (strcmp(uri, "https://json-schema.org/draft/2020-12/schema") == 0)
	{
		*draft = EB_DRAFT_2020_12;
		return draft_2020_12;
	}
	return NULL;
}
