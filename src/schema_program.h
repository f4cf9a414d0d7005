/*
 * The flat program that a schema compiles to; only the compiler and the
 * evaluator look inside.
 *
 * A program is an array of nodes (one per subschema) and an array of operations.  A
 * node owns a run of operations, grouped by the type of instance that they
 * apply to, so a value meets only what concerns it.  Nodes refer to each other
 * by number; recursion is a number that points back.
 */
#ifndef EB_SCHEMA_PROGRAM_H
#define EB_SCHEMA_PROGRAM_H

#include "schema.h"
#include "schema_format.h"
#include "schema_json.h"
#include "schema_number.h"
#include "schema_regex.h"

#define EB_NODE_NONE	(-1)

typedef enum EbOpCode
{
	/* numbers */
	EB_OP_MINIMUM,
	EB_OP_MAXIMUM,
	EB_OP_EXCLUSIVE_MINIMUM,
	EB_OP_EXCLUSIVE_MAXIMUM,
	EB_OP_MULTIPLE_OF,
	/* strings */
	EB_OP_MIN_LENGTH,
	EB_OP_MAX_LENGTH,
	EB_OP_PATTERN,
	EB_OP_FORMAT,
	/* arrays */
	EB_OP_MIN_ITEMS,
	EB_OP_MAX_ITEMS,
	EB_OP_UNIQUE_ITEMS,
	EB_OP_ITEMS,
	EB_OP_CONTAINS,
	/* objects */
	EB_OP_MIN_PROPERTIES,
	EB_OP_MAX_PROPERTIES,
	EB_OP_PROPERTIES,
	EB_OP_DEPENDENT_REQUIRED,
	EB_OP_DEPENDENT_SCHEMA,
	/* any value */
	EB_OP_CONST,
	EB_OP_ENUM,
	EB_OP_REF,
	EB_OP_DYNAMIC_REF,
	EB_OP_ALL_OF,
	EB_OP_ANY_OF,
	EB_OP_ONE_OF,
	EB_OP_NOT,
	EB_OP_IF,
	EB_OP_FALSE,
	/* last, because they look at what the others evaluated */
	EB_OP_UNEVALUATED_ITEMS,
	EB_OP_UNEVALUATED_PROPERTIES
} EbOpCode;

typedef enum EbSection
{
	EB_SECTION_NUMBER,
	EB_SECTION_STRING,
	EB_SECTION_ARRAY,
	EB_SECTION_OBJECT,
	EB_SECTION_ANY,
	EB_SECTION_LAST,
	EB_SECTIONS
} EbSection;

typedef struct EbProperty
{
	const char *name;
	int			len;
	int			node;			/* EB_NODE_NONE: only required */
	bool		required;
} EbProperty;

typedef struct EbPatternProperty
{
	const EbRegex *regex;
	int			node;
} EbPatternProperty;

/* properties, required, patternProperties, additionalProperties, propertyNames */
typedef struct EbPropertyTable
{
	int			n;
	int			nrequired;
	EbProperty *properties;		/* in Jsonb's key order */
	int			npatterns;
	EbPatternProperty *patterns;
	int			additional;		/* nodes, or EB_NODE_NONE */
	int			names;
} EbPropertyTable;

/* prefixItems and the schema of the other items */
typedef struct EbItems
{
	int			nprefix;
	int		   *prefix;
	int			rest;			/* node or EB_NODE_NONE */
	const char *rest_keyword;	/* "items" or "additionalItems" */
} EbItems;

typedef struct EbContains
{
	int			node;
	int64		min;
	int64		max;			/* -1: no limit */
	bool		marks;			/* does contains count as evaluating? */
} EbContains;

typedef struct EbNodeList
{
	int			n;
	int		   *nodes;

	/*
	 * A union told apart by one property: branch i needs the string tags[i]
	 * there, so at most that branch can match an object that has a string.
	 */
	const char *tag;			/* NULL: no such property */
	int			taglen;
	EbJson	   *tags;
	uint8		tagtypes;		/* types that a branch other than the tagged
								 * one could accept */
} EbNodeList;

typedef struct EbCondition
{
	int			condition;
	int			then_node;		/* or EB_NODE_NONE */
	int			else_node;
} EbCondition;

typedef struct EbEnum
{
	int			n;
	EbJson	   *values;
	bool		strings;		/* all strings, in Jsonb's key order */
} EbEnum;

typedef struct EbDependency
{
	const char *name;
	int			len;
	const char *keyword;		/* "dependencies" in draft-07 */
	int			node;			/* dependent schema */
	int			n;				/* dependent names */
	EbJson	   *names;
} EbDependency;

/* Where $dynamicRef may lead: by the outermost resource with the anchor. */
typedef struct EbDynamicTarget
{
	int			resource;
	int			node;
} EbDynamicTarget;

typedef struct EbDynamicRef
{
	int			initial;
	int			n;
	EbDynamicTarget *targets;
} EbDynamicRef;

typedef struct EbOp
{
	EbOpCode	code;
	int			node;			/* REF, NOT, UNEVALUATED_* */
	int64		number;			/* limits; EbFormat */
	union
	{
		const EbNumber *limit;
		const EbRegex *regex;
		const EbItems *items;
		const EbContains *contains;
		const EbPropertyTable *properties;
		const EbDependency *dependency;
		const EbJson *value;
		const EbEnum *values;
		const EbDynamicRef *dynamic;
		const EbNodeList *list;
		const EbCondition *condition;
		const char *text;		/* FORMAT: its name */
	}			u;
} EbOp;

typedef struct EbNode
{
	uint8		types;			/* accepted, EB_JSON_* */
	uint8		plain;			/* those accepted without further question */
	bool		integer;		/* a number must be integral */
	bool		marks;			/* has UNEVALUATED_* */
	int			resource;
	int			min_bytes;		/* a string this long satisfies the node: none if */
	int			max_bytes;		/* min_bytes > max_bytes */
	int			section[EB_SECTIONS + 1];	/* bounds in the array of ops */
	const char *path;			/* JSON pointer to the subschema */
} EbNode;

struct EbSchema
{
	MemoryContext context;
	int			nnodes;
	EbNode	   *nodes;
	EbOp	   *ops;
	int			root;
	bool		dynamic;		/* contains $dynamicRef */
};

#endif							/* EB_SCHEMA_PROGRAM_H */
