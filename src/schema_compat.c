#include "postgres.h"
#include "schema_compat.h"
void eb_schema_compat_check_mode(const char *mode){
	if (strcmp(mode, "none") != 0 && strcmp(mode, "backward") != 0 &&
		strcmp(mode, "forward") != 0 && strcmp(mode, "full") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compatibility \"%s\" is unknown", mode),
				 errhint("It is one of none, backward, forward and full.")));
}
void eb_schema_compat_check(const char *name, int version, Jsonb *older, Jsonb *newer, const char *mode){}
