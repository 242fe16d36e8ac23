/*
 * What a Java program cannot do to its own process: change its environment and its working directory, and read a descriptor by its
 * number. For Bootstrap.java; compiled by `lambdad runtimes install java`. The private fields are reached from here because the other
 * ways would open their packages to the function's code, too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <jni.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

JNIEXPORT jint JNICALL Java_lambdad_Bootstrap_read(JNIEnv *env, jclass self, jint descriptor, jbyteArray chunk)
{
    jsize room = (*env)->GetArrayLength(env, chunk);
    jbyte *bytes = (*env)->GetByteArrayElements(env, chunk, NULL);
    ssize_t size;
    (void)self;
    if (!bytes)
        return -1;
    do
        size = read(descriptor, bytes, (size_t)room);
    while (size < 0 && errno == EINTR);
    (*env)->ReleaseByteArrayElements(env, chunk, bytes, 0);
    return (jint)size;
}

JNIEXPORT void JNICALL Java_lambdad_Bootstrap_close(JNIEnv *env, jclass self, jint descriptor)
{
    (void)env;
    (void)self;
    close(descriptor);
}

/* Return a copy of an array's bytes, which end with a zero; NULL when there is no memory. */
static char *text(JNIEnv *env, jbyteArray array)
{
    jsize size = (*env)->GetArrayLength(env, array);
    char *copy = malloc((size_t)size + 1);
    if (copy) {
        (*env)->GetByteArrayRegion(env, array, 0, size, (jbyte *)copy);
        copy[size] = 0;
    }
    return copy;
}

JNIEXPORT void JNICALL Java_lambdad_Bootstrap_become(JNIEnv *env, jclass self, jobjectArray environment, jbyteArray directory)
{
    jsize count = (*env)->GetArrayLength(env, environment);
    (void)self;
    clearenv();
    for (jsize i = 0; i < count; i++) {
        jbyteArray pair = (*env)->GetObjectArrayElement(env, environment, i);
        char *copy = text(env, pair);
        char *equals = copy ? strchr(copy, '=') : NULL;
        if (equals) {
            *equals = 0;
            setenv(copy, equals + 1, 1);
        }
        free(copy);
        (*env)->DeleteLocalRef(env, pair);
    }
    if (directory) {
        char *copy = text(env, directory);
        if (copy && chdir(copy)) { /* the runtime then says that it finds no class */
        }
        free(copy);
    }
}

JNIEXPORT jobject JNICALL Java_lambdad_Bootstrap_variables(JNIEnv *env, jclass self)
{
    jclass environment = (*env)->FindClass(env, "java/lang/ProcessEnvironment");
    jclass wrapper = (*env)->FindClass(env, "java/util/Collections$UnmodifiableMap");
    jfieldID shown, inner;
    (void)self;
    if (!environment || !wrapper)
        return NULL;
    shown = (*env)->GetStaticFieldID(env, environment, "theUnmodifiableEnvironment", "Ljava/util/Map;");
    inner = shown ? (*env)->GetFieldID(env, wrapper, "m", "Ljava/util/Map;") : NULL;
    if (!inner)
        return NULL;
    return (*env)->GetObjectField(env, (*env)->GetStaticObjectField(env, environment, shown), inner);
}
