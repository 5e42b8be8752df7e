/* The step that fills a new file system with what it is going to hide (the mount option tmpcopyup). */
#include "steps.h"

long step_COPYUP(struct step *step)
{
	(void)step;
	return -E_NOSYS;
}
